package main

import (
	"net"
	"os"
	"strings"
)

// notify tells the service manager how the controller is (sd_notify); without
// one it tells nobody.
func notify(state string) {
	socket := os.Getenv("NOTIFY_SOCKET")
	if socket == "" {
		return
	}
	if strings.HasPrefix(socket, "@") {
		socket = "\x00" + socket[1:] // in the abstract name space
	}
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return // a manager that went away is not this program's matter
	}
	defer c.Close()
	_, _ = c.Write([]byte(state))
}

// What a service of Type=notify says; nowReady ends what nowReloading begins.
const (
	nowReady     = "READY=1"
	nowReloading = "RELOADING=1"
	nowStopping  = "STOPPING=1"
)
