// Package reason lists the codes of reasons: why a device has taken a decision,
// or why something failed on it. They stand in reports, events, logs and metrics,
// and keep their meaning for good.
//
// What lives here: the codes; those of the protocol come from package wire. What
// must not: the words for them, which package wording has, and which error has
// which reason, which package failure says. Read Code first.
package reason

import (
	"slices"

	"github.com/peerload/peerload/pdp/wire"
)

// Code is a reason as reports have it, "" for none.
type Code string

// The reasons that are not the protocol's.
const (
	// Why a file or a load was not fetched.
	NoLoad          Code = "no-such-load"     // the publisher has no such load
	Trust           Code = "trust"            // the signed metadata is refused
	Model           Code = "wrong-model"      // the load is for another model
	Kind            Code = "wrong-kind"       // a file set for a load, or the other way round
	Budget          Code = "disk-budget"      // the load is larger than the device may keep
	Refused         Code = "refused"          // the request cannot be carried out as it stands
	NoAddress       Code = "no-address"       // no address to share at
	TLS             Code = "tls"              // the server's certificate, or this device's, is not accepted
	Answer          Code = "unusable-answer"  // the server answers what no later attempt changes
	MetadataRefused Code = "metadata-refused" // the peers' copy of the metadata; the server is asked
	BadProvisioning Code = "bad-provisioning" // the provisioning file
	Damaged         Code = "damaged"          // a file that was held

	// Why an upgrade was not finished.
	Installer    Code = "installer"     // the installer failed
	Switch       Code = "switch"        // the slot could not be switched
	Reboot       Code = "reboot"        // the device did not restart
	NotConfirmed Code = "not-confirmed" // the new load was not confirmed
	NoWayBack    Code = "no-way-back"   // there is no load to go back to

	// Why a file set is not as it should be.
	FileHook Code = "hook-failed" // the hook of file sets failed

	// Why a proxy shares what passes through it: on whose word.
	ProxyByURL     Code = "digest-in-url"     // the URL names the digest
	ProxyByIndex   Code = "digest-in-index"   // an index that passed through has it
	ProxyByHeader  Code = "digest-in-header"  // the server's answer has it
	ProxyBySidecar Code = "digest-in-sidecar" // a file beside it has it
	ProxyByLoad    Code = "digest-in-load"    // the signed manifest of a load has it
	ProxyByRule    Code = "digest-in-rule"    // a rule has it
	ProxyUnsigned  Code = "unsigned-by-rule"  // a rule believes the network

	// Why a proxy does not.
	ProxyTunnel        Code = "tunnel"         // it is encrypted from end to end
	ProxyMethod        Code = "no-download"    // neither GET nor HEAD
	ProxyNever         Code = "never-by-rule"  // a rule forbids it
	ProxyCredentials   Code = "credentials"    // the request says who asks
	ProxyPrivate       Code = "private-answer" // the answer is for one client
	ProxyNoDigest      Code = "no-digest"      // nothing says which bytes are right
	ProxyForeignDigest Code = "other-digest"   // the digest in the URL proves other bytes
	ProxySmall         Code = "too-small"      // an election costs more than the file
	ProxyStatus        Code = "no-content"     // the server sends no file
	ProxyCoded         Code = "content-coding" // the bytes come in a content coding
	ProxyFailed        Code = "sharing-failed" // the peers' way failed; the server is asked
	ProxyNotSharing    Code = "sharing-is-off" // this device has no peers now
)

// Own lists the reasons that are not the protocol's, and for which something fails.
func Own() []Code {
	return []Code{
		NoLoad, Trust, Model, Kind, Budget, Refused, NoAddress, TLS, Answer, MetadataRefused, BadProvisioning, Damaged,
		Installer, Switch, Reboot, NotConfirmed, NoWayBack, FileHook,
	}
}

// Failures lists the reasons for which a device fails: it has a file, a load or a file set
// not. The protocol's others say why it chose a root, a parent or the server.
func Failures() []Code {
	all := []Code{Of(wire.ReasonNoProgress), Of(wire.ReasonDisk), Of(wire.ReasonDigestMismatch), Of(wire.ReasonWrongEpoch),
		Of(wire.ReasonStopped)}
	for r := wire.ReasonNone + 1; r.Known(); r++ {
		if r.Origin() {
			all = append(all, Of(r))
		}
	}
	return append(all, Own()...)
}

// Proxy lists the reasons of a proxy's decisions, which stand in events and in its
// status: no device fails for one.
func Proxy() []Code {
	return []Code{
		ProxyByURL, ProxyByIndex, ProxyByHeader, ProxyBySidecar, ProxyByLoad, ProxyByRule, ProxyUnsigned,
		ProxyTunnel, ProxyMethod, ProxyNever, ProxyCredentials, ProxyPrivate, ProxyNoDigest, ProxyForeignDigest,
		ProxySmall, ProxyStatus, ProxyCoded, ProxyFailed, ProxyNotSharing,
	}
}

// Phase is what a device is at when it fails for this reason, as report.Failure has
// it; "" for a reason that can come at any time.
func (c Code) Phase() string {
	switch c {
	case BadProvisioning, Refused, NoAddress:
		return "provision"
	case NoLoad, Trust, Model, Kind, Budget, MetadataRefused:
		return "manifest"
	case Of(wire.ReasonDigestMismatch), Of(wire.ReasonOriginWrong), Of(wire.ReasonBadChunk), Damaged:
		return "verify"
	case Of(wire.ReasonDisk), Switch:
		return "commit"
	case Installer:
		return "install"
	case Reboot:
		return "reboot"
	case NotConfirmed:
		return "trial"
	case NoWayBack:
		return "rollback"
	case FileHook:
		return "file-hook"
	}
	if c == "" || !slices.Contains(All(), c) {
		return ""
	}
	return "transfer"
}

// Of is the code of a reason of the protocol, "" for none.
func Of(r wire.Reason) Code {
	if r == wire.ReasonNone {
		return ""
	}
	return Code(r.String())
}

// All lists all reasons, those of the protocol first.
func All() []Code {
	var all []Code
	for r := wire.ReasonNone + 1; r.Known(); r++ {
		all = append(all, Of(r))
	}
	return append(append(all, Own()...), Proxy()...)
}
