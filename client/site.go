package client

import (
	"context"
	"net/url"
	"time"
)

// Site is a place with devices. It is a target, not a level: a device belongs to
// the site of its row, else to that of the network that it last reported from.
type Site struct {
	Meta
	Name string `json:"name"`
	// Note for people.
	Note string `json:"note"`
	// TimeZone is an IANA name, "" if nobody has said.
	TimeZone string `json:"time_zone"`
	// Networks are prefixes; the smallest that holds an address says its site.
	Networks []string `json:"networks"`
	// WANRate is that of its line in bytes a second, 0 if nobody has said.
	WANRate int64 `json:"wan_rate"`
	// Window in which devices may be upgraded, such as "mon-fri 22:00-05:00" in
	// the time zone of the site, "" for any time.
	Window string `json:"window"`
	// Limits of what the site takes from the controller.
	Limits SiteLimits `json:"limits"`
	// Counts come from Get and List only, else nil.
	Counts *SiteCounts `json:"counts,omitempty"`
}

// SiteLimits bound what a site takes from the controller; 0 leaves it to the
// server's own limit of all sites.
type SiteLimits struct {
	// Transfers are files under way at the same time, Rate is bytes a second.
	Transfers int   `json:"transfers"`
	Rate      int64 `json:"rate"`
}

// SiteCounts count the devices of a site, and their bytes.
type SiteCounts struct {
	Devices int `json:"devices"`
	// Done run the load that they should, Running are on the way to one, Failed
	// have failed or rolled back; Silent were not heard of for Filter.Silent.
	Done    int `json:"done"`
	Running int `json:"running"`
	Failed  int `json:"failed"`
	Silent  int `json:"silent"`
	// WANBytes came from servers, SavedBytes from peers instead.
	WANBytes   int64 `json:"wan_bytes"`
	SavedBytes int64 `json:"saved_bytes"`
}

// SiteChange changes a site; nil fields stay as they are.
type SiteChange struct {
	Note     *string `json:"note,omitempty"`
	TimeZone *string `json:"time_zone,omitempty"`
	// Networks replace those that the site has.
	Networks *[]string `json:"networks,omitempty"`
	WANRate  *int64    `json:"wan_rate,omitempty"`
	Window   *string   `json:"window,omitempty"`
	// Transfers and Rate are its limits.
	Transfers *int   `json:"transfers,omitempty"`
	Rate      *int64 `json:"rate,omitempty"`
}

// SitePlan is what an upgrade of a site would take, as the controller simulates it.
// Times are nil if they cannot be said; Unknown is why then.
type SitePlan struct {
	// Site is "" for devices that belong to none.
	Site string `json:"site"`
	// Devices that would fetch something, and the Loads, stepping stones included.
	Devices int      `json:"devices"`
	Loads   []string `json:"loads"`
	// WANBytes cross the line of the site. LastS are the seconds until its last device
	// has everything, without waves, windows and restarts.
	WANBytes int64    `json:"wan_bytes"`
	LastS    *float64 `json:"last_device_s,omitempty"`
	Unknown  string   `json:"unknown,omitempty"`
	// Classic is what the same takes if every device downloads by itself, by HTTP or
	// by TFTP in blocks of 512 bytes.
	Classic struct {
		WANBytes    int64    `json:"wan_bytes"`
		HTTPSeconds *float64 `json:"http_s,omitempty"`
		TFTPSeconds *float64 `json:"tftp_s,omitempty"`
	} `json:"classic"`
	// Line is what was assumed of the site: bytes a second, 0 if nobody has said, and
	// the seconds of a round trip to the server.
	Line struct {
		WANRate    int64   `json:"wan_rate"`
		LANRate    int64   `json:"lan_rate"`
		RoundTripS float64 `json:"round_trip_s"`
	} `json:"line"`
	// Took is what the last upgrade of the site took, nil if none was reported.
	Took *SiteUpgrade `json:"last_upgrade,omitempty"`
}

// SiteUpgrade is what an upgrade of a site took, as its devices have reported it.
type SiteUpgrade struct {
	Load string `json:"load"`
	// Devices that have said how they got it.
	Devices  int   `json:"devices"`
	WANBytes int64 `json:"wan_bytes"`
	// LastS are the seconds that the slowest device took, from its own start.
	LastS float64 `json:"last_device_s"`
	// Ended is when the last of them came to run it.
	Ended time.Time `json:"ended"`
}

// PlanSite says what it would take to bring a load, or a release if load is "", to
// all devices of a site.
func (c *Client) PlanSite(ctx context.Context, site, load, release string) (p SitePlan, err error) {
	q := url.Values{}
	for name, value := range map[string]string{"load": load, "release": release} {
		if value != "" {
			q.Set(name, value)
		}
	}
	err = c.get(ctx, at("/sites", site)+"/plan", q, &p)
	return p, err
}
