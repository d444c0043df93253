package provision

import (
	"fmt"

	"github.com/peerload/peerload/policy"
)

// section is an element that holds the settings of one level.
type section struct {
	element string // in XML
	key     string // in the native form
	level   policy.Level
	of      func(*policy.Levels) *policy.Values
}

// sections, the weakest level first: a later one wins (FACTS section 2).
var sections = []section{
	{"enterpriseConfig", "enterprise", policy.LevelEnterprise, func(l *policy.Levels) *policy.Values { return &l.Enterprise }},
	{"commonConfig", "profile", policy.LevelProfile, func(l *policy.Levels) *policy.Values { return &l.Profile }},
	{"vendorConfig", "device", policy.LevelDevice, func(l *policy.Levels) *policy.Values { return &l.Device }},
}

// element is how a setting stands in XML.
type element struct {
	setting string
	name    string
	// switched says that on and off are written 1 and 0.
	switched bool
}

// elements has every setting. The first three are the original's; what it has
// not begins with the name of this project.
var elements = []element{
	{policy.PeerSharing, "peerFirmwareSharing", true},
	{policy.LoadServer, "loadServer", false},
	{policy.LogServer, "logServer", false},
	{policy.WANLimit, "peerloadWanLimit", false},
	{policy.LANLimit, "peerloadLanLimit", false},
	{policy.Timing, "peerloadTiming", false},
	{policy.Retention, "peerloadRetention", false},
	{policy.Unsigned, "peerloadUnsigned", true},
}

// ElementOf returns the name of the element that holds a setting in XML, "" if
// there is none.
func ElementOf(setting string) string {
	for _, e := range elements {
		if e.setting == setting {
			return e.name
		}
	}
	return ""
}

// value translates the text of an element.
func (e element) value(text string) (string, error) {
	if e.switched {
		switch text {
		case "1":
			text = policy.On
		case "0":
			text = policy.Off
		default:
			return "", fmt.Errorf("<%s> is 0 or 1, not %q", e.name, text)
		}
	}
	if err := (policy.Values{e.setting: text}).Validate(); err != nil {
		return "", fmt.Errorf("<%s>: %w", e.name, err)
	}
	return text, nil
}

// text translates a value into the text of the element.
func (e element) text(value string) string {
	switch {
	case e.switched && value == policy.On:
		return "1"
	case e.switched:
		return "0"
	}
	return value
}
