#!/bin/sh
# Installs the foreign programs that the tests speak with: tftpd-hpa, tftp-hpa,
# atftp, dnsmasq, nginx, curl, aria2, uftp, PostgreSQL and the shells zsh and
# fish from the distribution, and atftpd, which conflicts with tftpd-hpa,
# unpacked into a directory of its own.
#
#   .ci/foreign.sh [DIR]
#
# DIR defaults to ${XDG_CACHE_HOME:-$HOME/.cache}/peerload-foreign and is
# printed at the end; the tests look there and in PATH with /usr/sbin. No
# service is started. Running it again does nothing and is quick. It needs
# Debian or Ubuntu and, if something is missing, root or sudo. It exits
# non-zero and says which program cannot be had.
set -eu

PATH=$PATH:/usr/sbin:/sbin
dir=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/peerload-foreign}

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

# tftp is also the name of other packages' clients.
have_tftp_hpa() { have tftp && tftp -V 2>/dev/null | grep -q tftp-hpa; }

# The tests run a server of their own with these; Debian keeps them out of PATH.
have_postgres() {
	for program in initdb postgres; do
		have "$program" && continue
		set -- /usr/lib/postgresql/*/bin/"$program"
		[ -x "$1" ] || return 1
	done
}

missing() {
	have in.tftpd || echo tftpd-hpa
	have_tftp_hpa || echo tftp-hpa
	have atftp || echo atftp
	have dnsmasq || echo dnsmasq-base
	have nginx || echo nginx-light
	have curl || echo curl
	have aria2c || echo aria2
	have uftp || echo uftp
	have zsh || echo zsh
	have fish || echo fish
	have_postgres || echo postgresql
}

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

if [ ! -x "$dir/usr/sbin/atftpd" ]; then
	have apt-get && have dpkg || fail "missing: atftpd; without apt-get unpack it into $dir by hand"
	mkdir -p "$dir"
	work=$(mktemp -d "$dir/get.XXXXXX")
	if ! (cd "$work" && apt-get download -qq atftpd >&2); then
		apt_update
		(cd "$work" && apt-get download -qq atftpd >&2) || fail "apt-get could not download: atftpd"
	fi
	dpkg -x "$work"/atftpd_*.deb "$dir" || fail "cannot unpack atftpd into $dir"
	rm -rf "$work"
fi
have ldd && ldd "$dir/usr/sbin/atftpd" 2>/dev/null | grep -q 'not found' &&
	fail "atftpd lacks a library: $(ldd "$dir/usr/sbin/atftpd" | grep 'not found' | tr -s '\t\n' '  ')"

echo "$dir"
