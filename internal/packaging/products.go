package main

import "slices"

// format is a kind of package.
type format string

const (
	deb format = "deb"
	rpm format = "rpm"
	apk format = "apk" // Alpine
	ipk format = "ipk" // OpenWrt
	tgz format = "tar.gz"
)

// systems are the formats of whole systems, on which people read manuals and type
// commands; a router has no room for either.
var systems = []format{deb, rpm, apk, tgz}

// withSystemd are those of systems with systemd, or perhaps with it.
var withSystemd = []format{deb, rpm, tgz}

// platform is what a program is built for.
type platform struct {
	arch string // GOARCH
	// nfpm is the name that nfpm turns into that of each format.
	nfpm string
	// openwrt is the architecture of OpenWrt that has such processors; most have
	// several, one for each kind of processor.
	openwrt string
	formats []format
}

var platforms = []platform{
	{arch: "amd64", nfpm: "amd64", formats: []format{deb, rpm, apk, tgz}},
	{arch: "arm64", nfpm: "arm64", formats: []format{deb, rpm, apk, tgz}},
	{arch: "arm", nfpm: "arm7", openwrt: "arm_cortex-a7_neon-vfpv4",
		formats: []format{deb, rpm, apk, ipk, tgz}},
	{arch: "mipsle", nfpm: "mipsle", openwrt: "mipsel_24kc", formats: []format{ipk, tgz}},
}

// file is one file of a package.
type file struct {
	// src is its path in the tree; "STAGE/" stands for what was made for the package.
	src, dst string
	mode     uint32
	// config is kept as its owner has changed it.
	config bool
	// in are the formats that have it; none: all.
	in []format
}

// product is one package, in all formats.
type product struct {
	name string // also of its program
	// short is one line, long are lines that go on from it.
	short, long string
	platforms   []string // by arch
	formats     []format
	depends     map[format][]string
	recommends  map[format][]string
	files       []file
	// scripts are what runs around the installation, by format and by nfpm's name.
	scripts map[format]map[string]string
}

// ofUnits is what the units need: the service manager, and the program kill, by which it
// reloads them.
var ofUnits = map[format][]string{deb: {"systemd", "procps"}, rpm: {"systemd", "util-linux"}}

const whatPeerloadIs = `Peerload brings firmware to the devices of a site over its WAN line once,
and lets them pass it on among themselves.
`

// products are all packages.
func products() []product {
	return []product{device(), get(), server(), lab()}
}

// common are the files that each package has.
func common(name string) []file {
	return []file{
		{src: "STAGE/" + name, dst: "/usr/bin/" + name, mode: 0o755},
		{src: "STAGE/" + name + ".1.gz", dst: "/usr/share/man/man1/" + name + ".1.gz", mode: 0o644, in: systems},
		{src: "STAGE/" + name + ".bash", dst: "/usr/share/bash-completion/completions/" + name, mode: 0o644, in: systems},
		{src: "STAGE/" + name + ".zsh", dst: "/usr/share/zsh/vendor-completions/_" + name, mode: 0o644, in: []format{deb}},
		{src: "STAGE/" + name + ".zsh", dst: "/usr/share/zsh/site-functions/_" + name, mode: 0o644,
			in: []format{rpm, apk, tgz}},
		{src: "STAGE/" + name + ".fish", dst: "/usr/share/fish/vendor_completions.d/" + name + ".fish", mode: 0o644,
			in: systems},
		{src: "STAGE/changelog.gz", dst: "/usr/share/doc/" + name + "/changelog.gz", mode: 0o644, in: []format{deb}},
		{src: "packaging/copyright", dst: "/usr/share/doc/" + name + "/copyright", mode: 0o644, in: []format{deb}},
		{src: "packaging/lintian-overrides", dst: "/usr/share/lintian/overrides/" + name, mode: 0o644, in: []format{deb}},
		{src: "LICENSE", dst: "/usr/share/licenses/" + name + "/LICENSE", mode: 0o644, in: []format{rpm, apk, tgz}},
	}
}

func device() product {
	const from = "packaging/device/"
	return product{
		name:  "peerload",
		short: "firmware through the peers of the subnet",
		long: whatPeerloadIs + `.
This is what runs on a device: the agent, which keeps the device up to date,
and the commands that fetch files through the peers, show what the device
does, and let other programs of the device share what they download.`,
		platforms: []string{"amd64", "arm64", "arm", "mipsle"},
		formats:   []format{deb, rpm, apk, ipk, tgz},
		depends:   ofUnits,
		recommends: map[format][]string{deb: {"ca-certificates"}, rpm: {"ca-certificates"},
			apk: {"ca-certificates-bundle"}},
		files: slices.Concat(common("peerload"), []file{
			{src: from + "agent.toml", dst: "/etc/peerload/agent.toml", mode: 0o644, config: true, in: systems},
			{src: from + "peerload-agent.service", dst: "/usr/lib/systemd/system/peerload-agent.service", mode: 0o644,
				in: withSystemd},
			{src: from + "peerload-hook.socket", dst: "/usr/lib/systemd/system/peerload-hook.socket", mode: 0o644,
				in: withSystemd},
			{src: from + "peerload-hook@.service", dst: "/usr/lib/systemd/system/peerload-hook@.service", mode: 0o644,
				in: withSystemd},
			{src: from + "hook", dst: "/usr/lib/peerload/hook", mode: 0o755, in: withSystemd},
			{src: from + "tmpfiles.conf", dst: "/usr/lib/tmpfiles.d/peerload.conf", mode: 0o644, in: withSystemd},
			{src: from + "alpine/peerload-agent.initd", dst: "/etc/init.d/peerload-agent", mode: 0o755, in: []format{apk}},
			{src: from + "openwrt/peerload.init", dst: "/etc/init.d/peerload", mode: 0o755, in: []format{ipk}},
			{src: from + "openwrt/peerload.config", dst: "/etc/config/peerload", mode: 0o644, config: true,
				in: []format{ipk}},
		}),
		scripts: scripts(from, "ipk.postinst", "ipk.prerm"),
	}
}

func get() product {
	return product{
		name:  "peerload-get",
		short: "fetch files through the peers of the subnet, and nothing else",
		long: whatPeerloadIs + `.
This is for devices that have no room for the agent: one command, which
fetches single files through the peers. It shares with devices that run
peerload, too.`,
		platforms: []string{"amd64", "arm64", "arm", "mipsle"},
		formats:   []format{ipk, tgz},
		files:     common("peerload-get"),
	}
}

func server() product {
	const from = "packaging/server/"
	return product{
		name:  "peerload-server",
		short: "controller that publishes, provisions and reports for Peerload",
		long: whatPeerloadIs + `.
This is the controller: one program with one data directory. It has the list
of devices, determines the load and the settings of each, signs loads, serves
them over HTTP and TFTP, and stores what devices report.`,
		platforms: []string{"amd64", "arm64"}, // the queue of its database needs 64 bits
		formats:   []format{deb, rpm, apk, tgz},
		depends:   ofUnits,
		recommends: map[format][]string{deb: {"ca-certificates"}, rpm: {"ca-certificates"},
			apk: {"ca-certificates-bundle"}},
		files: slices.Concat(common("peerload-server"), []file{
			{src: from + "peerload-server.env", dst: "/etc/peerload/peerload-server.env", mode: 0o640, config: true,
				in: systems},
			{src: from + "peerload-server.service", dst: "/usr/lib/systemd/system/peerload-server.service", mode: 0o644,
				in: withSystemd},
			{src: from + "sysusers.conf", dst: "/usr/lib/sysusers.d/peerload-server.conf", mode: 0o644, in: withSystemd},
			{src: from + "tmpfiles.conf", dst: "/usr/lib/tmpfiles.d/peerload-server.conf", mode: 0o644, in: withSystemd},
			{src: from + "alpine/peerload-server.initd", dst: "/etc/init.d/peerload-server", mode: 0o755,
				in: []format{apk}},
		}),
		scripts: scripts(from, "apk.preinst"),
	}
}

func lab() product {
	return product{
		name:  "peerload-lab",
		short: "sites of Peerload devices on one machine",
		long: whatPeerloadIs + `.
This is the laboratory: it runs whole sites of real devices on one machine,
in network namespaces, shows what they do, and measures them.`,
		platforms: []string{"amd64", "arm64"},
		formats:   []format{deb, rpm, apk, tgz},
		depends:   map[format][]string{deb: {"peerload", "peerload-server"}, rpm: {"peerload", "peerload-server"}},
		files:     common("peerload-lab"),
	}
}

// scripts are those that Debian and rpm need for a unit, and more.
func scripts(from string, more ...string) map[format]map[string]string {
	names := map[string]string{"postinst": "postinstall", "prerm": "preremove", "postrm": "postremove",
		"post": "postinstall", "preun": "preremove", "postun": "postremove", "preinst": "preinstall"}
	all := map[format]map[string]string{}
	for _, s := range slices.Concat([]string{"deb.postinst", "deb.prerm", "deb.postrm", "rpm.post", "rpm.preun",
		"rpm.postun"}, more) {
		f := format(s[:3])
		if all[f] == nil {
			all[f] = map[string]string{}
		}
		all[f][names[s[4:]]] = from + "scripts/" + s
	}
	return all
}
