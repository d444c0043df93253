// Package updaters shows that other people's updaters share through the proxy, by the
// recipes of docs/UPDATERS.md: each runs as it stands there, on the devices of a site.
//
// What lives here: tests. What must not: anything that they test. Read first:
// TestRecipes.
package updaters
