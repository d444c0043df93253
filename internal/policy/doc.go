// Package policy says what holds for a device: the model table (what a model is
// called, whether it can share, which group shares with which) and the
// settings, each with its effective value and where that comes from.
//
// What lives here: values and rules over them. What must not: files, sockets,
// clocks, goroutines, and how settings are stored or provisioned.
package policy
