package parse

import (
	"fmt"
	"net/netip"
)

// Address reads an address with the length of its prefix, such as 10.0.0.7/24,
// or without. Then the prefix is as long as the address, which stands for that
// of the interface.
func Address(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a, a.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, fmt.Errorf("%q is not an address, such as 10.0.0.7 or 10.0.0.7/24", s)
	}
	return p, nil
}
