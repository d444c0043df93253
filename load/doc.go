// Package load holds the nouns of Peerload: a load (a firmware release), its
// components (the files of it), their digests, and the chunk table by which a
// file is divided and checked.
//
// A publisher describes files with [Describe], puts them into a [Manifest] and
// writes that with [Manifest.Marshal]. A device reads it with [ParseManifest],
// knows by [Geometry] where each chunk begins, and checks a chunk with
// [Table.Check] before it passes the chunk on. [ParseLoads] reads the classic
// list of files, which says nothing about their content.
//
// What lives here: values and the parsers of their text forms, which check
// every bound before they accept a value. What must not: files, sockets,
// clocks, goroutines, and whether to believe a manifest, which package trust
// decides. Everything that reads bytes takes an io.Reader or a []byte.
//
// Read manifest.go first, then chunk.go.
package load
