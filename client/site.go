package client

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
