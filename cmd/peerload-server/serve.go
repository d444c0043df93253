package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"

	"github.com/spf13/cobra"

	"github.com/peerload/peerload/fileserver"
	"github.com/peerload/peerload/publish"
)

// listening is printed once the sockets are open.
type listening struct {
	Schema int    `json:"schema"`
	Event  string `json:"event"`
	HTTP   string `json:"http,omitempty"`
	TFTP   string `json:"tftp,omitempty"`
}

func serveCommand() *cobra.Command {
	var w where
	var httpAddr, tftpAddr string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the repository over HTTP and TFTP",
		Long: `Serve the files of the repository, read-only, over HTTP (with Range), over TFTP
(with windowsize and offset), or both. It prints the addresses and runs until
it is interrupted. With --keys it also keeps the signatures from expiring.`,
		Example: `  peerload-server serve --repo /srv/firmware --http :6970 --tftp :69
  peerload-server serve --repo ./firmware --http 127.0.0.1:0`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if httpAddr == "" && tftpAddr == "" {
				return errors.New("say where to serve: --http ADDR, --tftp ADDR, or both")
			}
			root, err := os.OpenRoot(w.repo)
			if err != nil {
				return err
			}
			defer root.Close()
			cfg := fileserver.Config{Root: root, Log: slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))}
			if err := listen(&cfg, httpAddr, tftpAddr); err != nil {
				return err
			}
			l := listening{Schema: jsonSchema, Event: "listening"}
			text := ""
			if cfg.HTTP != nil {
				l.HTTP = cfg.HTTP.Addr().String()
				text += "http://" + l.HTTP + "/\n"
			}
			if cfg.TFTP != nil {
				l.TFTP = cfg.TFTP.LocalAddr().String()
				text += "tftp://" + l.TFTP + "/\n"
			}
			if err := w.print(cmd, l, "%s", text); err != nil {
				return err
			}
			if w.keys != "" {
				repo, err := w.open(true)
				if err != nil {
					return err
				}
				fresh, stop := context.WithCancel(cmd.Context())
				ended := make(chan struct{})
				go func() { defer close(ended); publish.KeepFresh(fresh, repo, cfg.Log) }()
				defer func() { stop(); <-ended }()
			}
			return fileserver.Serve(cmd.Context(), cfg)
		},
	}
	w.flags(cmd, true)
	cmd.Flags().Lookup("keys").Usage = "the directory of the private keys; if given, signatures are refreshed daily"
	cmd.Flags().StringVar(&httpAddr, "http", "", "address for HTTP, for example :6970")
	cmd.Flags().StringVar(&tftpAddr, "tftp", "", "address for TFTP, for example :69")
	return cmd
}

// listen opens the sockets asked for.
func listen(cfg *fileserver.Config, httpAddr, tftpAddr string) error {
	if tftpAddr != "" {
		a, err := net.ResolveUDPAddr("udp", tftpAddr)
		if err != nil {
			return fmt.Errorf("%w: --tftp: %w", errSocket, err)
		}
		if cfg.TFTP, err = net.ListenUDP("udp", a); err != nil {
			return fmt.Errorf("%w: %w", errSocket, err)
		}
	}
	if httpAddr != "" {
		ln, err := net.Listen("tcp", httpAddr)
		if err != nil {
			if cfg.TFTP != nil {
				cfg.TFTP.Close()
			}
			return fmt.Errorf("%w: %w", errSocket, err)
		}
		cfg.HTTP = ln
	}
	return nil
}
