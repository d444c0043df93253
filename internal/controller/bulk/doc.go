// Package bulk changes many devices by one job: the rows of a table, or all
// devices of a query. It has nothing to do with the queue of package jobs.
//
// A job says before it begins what becomes of each row, writes its rows in steps,
// each a transaction, reads back what it has written, and can be taken back. All
// that it has done stands in the database, in the transaction that does it: after
// the process was killed another one goes on.
//
// What lives here: what tables and queries ask for, the verdicts, the steps of jobs,
// templates. What must not: how a table is written (package table), what is valid
// for a device (package domain), SQL, HTTP.
//
// Read request.go, verdict.go, run.go, undo.go, in this order.
package bulk
