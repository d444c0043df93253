package client_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"

	"github.com/peerload/peerload/client"
)

// A program makes a profile and a device known, and finds out that somebody
// else has changed the device since it was read.
func Example() {
	url, token, stop := controller()
	defer stop()
	c, err := client.New(url, token, nil)
	if err != nil {
		panic(err)
	}
	ctx := context.Background()
	lobby := client.ProfileChange{Settings: client.SettingsChange{Set: map[string]string{"peer-sharing": "on"}}}
	if _, err := c.Profiles.Create(ctx, "lobby", lobby); err != nil {
		panic(err)
	}
	d, err := c.Devices.Create(ctx, "00:11:22:33:44:55", client.DeviceChange{Model: new("7941"), Profile: new("lobby")})
	if err != nil {
		panic(err)
	}
	fmt.Println(d.Name, d.Model, "version", d.Version)

	for _, name := range []string{"Kyoto", "Osaka"} {
		if _, err := c.Sites.Create(ctx, name, client.SiteChange{TimeZone: new("Asia/Tokyo")}); err != nil {
			panic(err)
		}
	}
	if _, err := c.Devices.Update(ctx, d.Name, client.DeviceChange{Site: new("Kyoto")}, client.AnyVersion); err != nil {
		panic(err)
	}
	_, err = c.Devices.Update(ctx, d.Name, client.DeviceChange{Site: new("Osaka")}, d.Version)
	fmt.Println("conflict:", errors.Is(err, client.Conflict))

	for d, err := range c.Devices.List(ctx, client.Filter{Site: "Kyoto"}) {
		if err != nil {
			panic(err)
		}
		fmt.Println(d.Name, "is in", d.Site, "at version", d.Version)
	}
	// Output:
	// SEP001122334455 CP-7941G version 1
	// conflict: true
	// SEP001122334455 is in Kyoto at version 2
}

// A controller shows a certificate of its own until it is given another: the
// file is a copy of tls/cert.pem in its data directory.
func ExampleNew() {
	url, token, file, stop := secureController()
	defer stop()
	pem, err := os.ReadFile(file)
	if err != nil {
		panic(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: pool}
	defer transport.CloseIdleConnections()
	c, err := client.New(url, token, &http.Client{Transport: transport})
	if err != nil {
		panic(err)
	}
	enterprise, err := c.Enterprise(context.Background())
	if err != nil {
		panic(err)
	}
	fmt.Println("devices register themselves:", enterprise.AutoRegistration)
	// Output: devices register themselves: false
}
