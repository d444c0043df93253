//go:build !linux

package background

import "syscall"

// Other systems tell too little: downloads there are as they were.

func measure(syscall.RawConn) (seen, bool) { return seen{}, false }

func setWindow(syscall.RawConn, int) {}
