// Package idle counts the bytes that an idle site sends over its line. The agents are
// real, each in a network namespace of its own, and so is the controller at the other
// end of the line. The kernel counts the bytes.
//
// What lives here: tests. What must not: anything that they test. Read first: TestIdle.
package idle
