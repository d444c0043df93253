// Package slot keeps bytes on a device: the partial file of a component that
// is still arriving, its read-back, its commit by fsync and rename, the commit
// of a whole load into one directory, and two slots (A/B) with an atomic
// switch, trial boot and roll back.
//
// What lives here: everything whose order matters when the power goes. A name
// appears only when the bytes behind it are verified and on the medium; after
// a power cut a load is the old one or the new one, never a mixture. All of it
// goes through FS, so that faultdisk can cut the power at any operation.
//
// What must not: where bytes come from, who is told about them, and when.
// There is no goroutine and no clock here: the driver calls.
//
// Read fs.go (what a disk must do), then partial.go, chunk.go and settle.go (one
// file), set.go (a load), and slots.go (the switch).
package slot
