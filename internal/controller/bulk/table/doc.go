// Package table reads and writes tables of devices as spreadsheets have them: CSV
// with commas, semicolons or tabs, in UTF-8 or UTF-16, and xlsx.
//
// What lives here: encodings, delimiters, the names of columns, and what a cell
// says. What must not: what a value means for a device, the database, files: a
// table is bytes. What cannot be read for certain is refused with its line and
// byte, never guessed: a text that is stored damaged is found too late.
//
// Read Read first, then columns.go, cell.go.
package table
