// Package load holds the nouns of Peerload: a load (a firmware release), its
// components (the files of it), their digests, and the chunk table by which
// a file is cut, named and checked.
//
// What lives here: values and the parsers of their text forms, each bounded
// before it is believed. What must not: files, sockets, clocks, goroutines.
// Everything that reads bytes takes an io.Reader or a []byte.
package load
