// Package console holds what commands on a controller share: the way to it, what
// they print, and asking before several devices change.
//
// What lives here: Flags, which open a Connection to a remote controller or to
// that of this host; the two outputs, for people and --json; Consent. What must
// not: commands of one noun, and what a controller is made of. Read Flags.With
// first.
package console
