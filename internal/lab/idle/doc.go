// Package idle counts what a site that has nothing to do costs its line: real agents,
// each in a network namespace of its own, and a real controller at the other end of a
// line whose bytes the kernel counts.
//
// What lives here: tests. What must not: anything that they test. Read first: TestIdle.
package idle
