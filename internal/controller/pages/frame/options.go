package frame

import "github.com/peerload/peerload/client"

// Choices bounds the names that a field offers.
const Choices = 500

// SiteOptions are the sites that a field offers.
func SiteOptions(v *Visit) (out []Option, err error) {
	all, err := All(v, v.API.Sites.Lister, client.Filter{Limit: Choices})
	for _, s := range all {
		out = append(out, Option{Value: s.Name, Label: s.Name})
	}
	return out, err
}

// ProfileOptions are the profiles that a field offers.
func ProfileOptions(v *Visit) (out []Option, err error) {
	all, err := All(v, v.API.Profiles.Lister, client.Filter{Limit: Choices})
	for _, p := range all {
		out = append(out, Option{Value: p.Name, Label: p.Name})
	}
	return out, err
}

// ModelOptions are the models that a field offers.
func ModelOptions(v *Visit) (out []Option, err error) {
	all, err := All(v, v.API.Models, client.Filter{})
	for _, m := range all {
		out = append(out, Option{Value: m.Name, Label: m.Name})
	}
	return out, err
}

// PlaceOptions are the sites and profiles that a device may belong to.
func PlaceOptions(v *Visit) (sites, profiles []Option, err error) {
	if sites, err = SiteOptions(v); err != nil {
		return nil, nil, err
	}
	profiles, err = ProfileOptions(v)
	return sites, profiles, err
}

// DeviceOptions are the models, sites and profiles that a device may have.
func DeviceOptions(v *Visit) (models, sites, profiles []Option, err error) {
	if models, err = ModelOptions(v); err != nil {
		return nil, nil, nil, err
	}
	sites, profiles, err = PlaceOptions(v)
	return models, sites, profiles, err
}

// SoftwareOptions are the loads and releases that may be assigned.
func SoftwareOptions(v *Visit) (loads, releases []Option, err error) {
	all, err := All(v, v.API.Loads, client.Filter{Limit: Choices})
	if err != nil {
		return nil, nil, err
	}
	for _, l := range all {
		label := l.Name
		if l.Release != "" {
			label += " (" + l.Release + ")"
		}
		loads = append(loads, Option{Value: l.Name, Label: label})
	}
	rel, err := All(v, v.API.Releases.Lister, client.Filter{Limit: Choices})
	for _, r := range rel {
		releases = append(releases, Option{Value: r.Name, Label: r.Name})
	}
	return loads, releases, err
}

// NoOption is the option of a field that may be left out.
func NoOption(v *Visit) []Option { return []Option{{Value: "", Label: v.T("none")}} }
