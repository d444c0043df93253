// Package provision says what a device is told: which load it should run and
// which settings hold, at which level. It reads the files that servers give to
// phones, SEP<MAC>.cnf.xml and XMLDefault.cnf.xml, and the native form of the
// same in TOML or JSON; it writes the XML; and it finds the server's address in
// the lease files of DHCP clients (docs/ORIGINAL.md, "Provisioning and files").
//
// What lives here: texts and what they mean, as pure functions over bytes. What
// must not: fetching a file, keeping it, acting on it, and which level wins,
// which package policy decides.
//
// Read file.go (what a file says), element.go (the table of elements), then
// read.go and write.go (XML), native.go, lease.go.
package provision
