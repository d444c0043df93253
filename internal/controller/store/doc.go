// Package store keeps what package domain knows in an SQL database: one code
// path through database/sql, and a Dialect for what SQLite and PostgreSQL do
// differently.
//
// Every thing is a row of its key, its version, its JSON form, and the columns
// by which it is found. A field that nobody searches by needs no migration, and
// an export is the same JSON for both databases.
//
// What lives here: statements, transactions, migrations, export and import.
// What must not: rules of the domain, drivers (they are in store/sqlite and
// store/postgres), HTTP.
package store
