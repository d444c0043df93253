#!/bin/sh
# Installs the foreign programs that the tests speak with: tftpd-hpa, tftp-hpa,
# atftp, dnsmasq, nginx, curl, wget, xz, aria2, uftp, PostgreSQL, HAProxy, nft, iptables, the
# shells zsh and fish,
# and what makes file systems, from the distribution. atftpd conflicts with
# tftpd-hpa, so atftpd and, where another in.tftpd is installed, tftpd-hpa are
# unpacked into a directory of their own instead; so is prometheus, of which the
# tests need promtool only.
#
#   .ci/foreign.sh             install what is missing
#   .ci/foreign.sh --missing   only say what is missing, one package a line
#
# With PEERLOAD_FOREIGN_FULL=1 also what ./test.sh full alone runs: the updaters of
# docs/UPDATERS.md (SWUpdate, RAUC, casync, OSTree and Mender), Chromium, what
# checks and installs packages, and what runs programs of other processors.
#
# The directory is ${XDG_CACHE_HOME:-$HOME/.cache}/peerload-foreign; the tests
# look there and in PATH with /usr/sbin. No service is started. Running it again
# does nothing and is quick. It needs Debian or Ubuntu and, if something is
# missing, root or sudo. It exits non-zero and says which program cannot be had.
set -eu

PATH=$PATH:/usr/sbin:/sbin
dir=${XDG_CACHE_HOME:-$HOME/.cache}/peerload-foreign

fail() {
	echo "foreign.sh: $*" >&2
	exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

as_root() {
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	else
		have sudo || fail "root is needed to run '$*' and there is no sudo"
		sudo "$@"
	fi
}

# tftp and in.tftpd are also the names of other packages' programs.
is_hpa() { "$1" -V 2>/dev/null | grep -q tftp-hpa; }
have_tftp_hpa() { have tftp && is_hpa tftp; }

# The tests run a server of their own with these; Debian keeps them out of PATH.
have_postgres() {
	for program in initdb postgres; do
		have "$program" && continue
		set -- /usr/lib/postgresql/*/bin/"$program"
		[ -x "$1" ] || return 1
	done
}

# What is to be installed.
missing() {
	have in.tftpd || is_hpa "$dir/usr/sbin/in.tftpd" || echo tftpd-hpa
	have_tftp_hpa || echo tftp-hpa
	have atftp || echo atftp
	have dnsmasq || echo dnsmasq-base
	have nginx || echo nginx-light
	have curl || echo curl
	have wget || echo wget
	have xz || echo xz-utils
	have aria2c || echo aria2
	have uftp || echo uftp
	have zsh || echo zsh
	have fish || echo fish
	have_postgres || echo postgresql
	have haproxy || echo haproxy
	have nft || echo nftables
	have iptables || echo iptables
	have mkfs.ext4 || echo e2fsprogs
	have mkfs.xfs || echo xfsprogs
	have mkfs.btrfs || echo btrfs-progs
	have mkfs.vfat || echo dosfstools
	have mkfs.exfat || echo exfatprogs
	have mount.exfat-fuse || echo exfat-fuse
	[ -n "${PEERLOAD_FOREIGN_FULL:-}" ] || return 0
	have chromium || echo chromium
	have swupdate || echo swupdate
	have rauc || echo rauc
	have dbus-run-session || echo dbus-daemon
	have mksquashfs || echo squashfs-tools
	have casync || echo casync
	have ostree || echo ostree
	have mender || echo mender-client
	have lintian || echo lintian
	have debootstrap || echo debootstrap
	have rpm || echo rpm
	have busybox || echo busybox
	have qemu-arm || echo qemu-user
}

# What is to be unpacked into the directory.
unpacked() {
	[ -x "$dir/usr/sbin/atftpd" ] || echo atftpd
	have promtool || [ -x "$dir/usr/bin/promtool" ] || echo prometheus
	! have in.tftpd || is_hpa in.tftpd || is_hpa "$dir/usr/sbin/in.tftpd" || echo tftpd-hpa
}

case ${1:-} in
--missing)
	missing
	unpacked | sed 's/$/ (unpacked into a directory of its own)/'
	exit
	;;
'') ;;
*) fail "unknown argument $1: give --missing or nothing" ;;
esac

updated=
apt_update() {
	[ -z "$updated" ] || return 0
	as_root apt-get update -qq || fail "apt-get update failed: no package source answers"
	updated=1
}

# No package may start its service while we install: policy-rc.d says 101
# (forbidden) meanwhile, and what was there before comes back.
policy=/usr/sbin/policy-rc.d
policy_set=
policy_restore() {
	[ -n "$policy_set" ] || return 0
	policy_set=
	as_root rm -f "$policy"
	if [ -e "$policy.peerload-saved" ]; then
		as_root mv "$policy.peerload-saved" "$policy"
	fi
}
policy_forbid() {
	trap policy_restore EXIT
	trap 'exit 130' INT
	trap 'exit 143' TERM
	# A saved copy already there is the true one, left by a run that was killed.
	if [ -e "$policy" ] && [ ! -e "$policy.peerload-saved" ]; then
		as_root mv "$policy" "$policy.peerload-saved"
	fi
	policy_set=1
	printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
	as_root chmod 755 "$policy"
}

wanted=$(missing)
if [ -n "$wanted" ]; then
	have apt-get || fail "missing: $(echo $wanted); without apt-get install them by hand"
	apt_update
	policy_forbid
	# shellcheck disable=SC2086 # a list of package names
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $wanted >&2 ||
		fail "apt-get could not install: $(echo $wanted)"
	policy_restore
	wanted=$(missing)
	[ -z "$wanted" ] || fail "installed, yet not found: $(echo $wanted)"
fi

# unpack NAME: the package NAME, without installing it.
unpack() {
	have apt-get && have dpkg || fail "missing: $1; without apt-get unpack it into $dir by hand"
	mkdir -p "$dir"
	work=$(mktemp -d "$dir/get.XXXXXX")
	if ! (cd "$work" && apt-get download -qq "$1" >&2); then
		apt_update
		(cd "$work" && apt-get download -qq "$1" >&2) || fail "apt-get could not download: $1"
	fi
	dpkg -x "$work"/"$1"_*.deb "$dir" || fail "cannot unpack $1 into $dir"
	rm -rf "$work"
}

# atftpd first: it brings an in.tftpd, too, in whose place that of tftpd-hpa goes.
for package in $(unpacked); do
	unpack "$package"
done
for program in "$dir"/usr/sbin/atftpd "$dir"/usr/sbin/in.tftpd "$dir"/usr/bin/promtool; do
	have ldd && ldd "$program" 2>/dev/null | grep -q 'not found' &&
		fail "$program lacks a library: $(ldd "$program" | grep 'not found' | tr -s '\t\n' '  ')"
done
exit 0
