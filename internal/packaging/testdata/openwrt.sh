# Stands for the functions that OpenWrt gives to a script of /etc/init.d, and for its
# program uci. It prints what is asked of procd.
config_load() { :; }
config_get() { eval "$1=\${uci_$3}"; }
config_get_bool() { eval "$1=\${uci_$3:-$4}"; }
config_list_foreach() {
	local callback=$3 entry
	eval "eval set -- \"\$list_$2\""
	for entry in "$@"; do $callback "$entry"; done
}
procd_open_instance() { :; }
procd_close_instance() { :; }
procd_set_param() { echo "$*"; }
procd_append_param() { echo "$*"; }
mkdir() { :; }

uci() {
	local option=${2#peerload.agent.}
	local name=${option%%=*} value=${option#*=}
	case $1 in
	set) eval "uci_$name=\$value" ;;
	add_list) eval "uci_$name=\"\${uci_$name:-}\${uci_$name:+ }\$value\"; list_$name=\"\${list_$name:-} '\$value'\"" ;;
	commit) [ "$2" = peerload ] ;;
	*) return 1 ;;
	esac
}
