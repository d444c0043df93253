// Package repository is the publisher's side of trust: it makes keys, signs
// loads by The Update Framework (TUF specification 1.0), and lays them out as
// plain files for any TFTP or HTTP server. Package trust, the device's side,
// describes the published tree.
//
// What must not be here: flags, databases, how a load is made of files (package
// publish), how files get to devices.
//
// Read repository.go (the tree and what is added to it) first, then sign.go
// (refreshing and rotating), keys.go, verify.go.
package repository
