package measure

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/peerload/peerload/internal/lab/process"
)

// Server is somebody else's program that serves the file in the place of the lab's
// server, over HTTP. Nobody counts its payload: the WAN's bytes are with all headers.
type Server struct {
	Name string
	// Start returns the command and variables of the environment for a program that
	// serves the files of the directory pub at an address. It may write files into dir.
	// It gets the socket, which listens, as descriptor 3.
	Start func(dir, pub, address string) (argv, environment []string, err error)
}

// serving is a Server that runs.
type serving struct {
	cmd  *exec.Cmd
	said process.Tail
	url  string
}

// serve starts the configuration's server with a socket, whose connections have what
// congestion control the socket has.
func (m *measurement) serve(ln net.Listener, pub string) error {
	socket, err := ln.(*net.TCPListener).File()
	if err != nil {
		return err
	}
	defer socket.Close()
	address := ln.Addr().String()
	if err := ln.Close(); err != nil { // the program has its own descriptor
		return err
	}
	argv, environment, err := m.cfg.Server.Start(m.dir.Path, pub, address)
	if err != nil {
		return err
	}
	s := &serving{cmd: exec.Command(argv[0], argv[1:]...), url: "http://" + address + "/" + process.FileName}
	s.cmd.Env, s.cmd.ExtraFiles = append(os.Environ(), environment...), []*os.File{socket}
	s.cmd.Stdout, s.cmd.Stderr = &s.said, &s.said
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("%s: %w", m.cfg.Server.Name, err)
	}
	m.foreignServer = s
	return nil
}

// end ends the server, which may have to end processes of its own. What it said is an
// error if it had ended before.
func (s *serving) end() error {
	if s == nil {
		return nil
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("%s ended: %s", s.cmd.Path, s.said.String())
	}
	timer := time.AfterFunc(endsIn, func() { _ = s.cmd.Process.Kill() })
	defer timer.Stop()
	_ = s.cmd.Wait() // it was ended, whatever it says of it
	return nil
}

// endsIn is how long a server may take to end.
const endsIn = 5 * time.Second
