#compdef PROGRAM
# Completion of PROGRAM for zsh.
_PROGRAM() {
    local -a lines shown
    local end line text
    lines=("${(@f)$(PROGRAM ASK "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)}")
    end=$lines[-1]
    for line in "${(@)lines[1,-2]}"; do
        text=${line%%$'\t'*}
        if [[ $line == *$'\t'* ]]; then
            shown+=("${text//:/\\:}:${line#*$'\t'}")
        else
            shown+=("${text//:/\\:}")
        fi
    done
    if [[ $PREFIX == --*=* ]]; then
        compset -P 1 '*='
    fi
    if (($#shown)); then
        _describe PROGRAM shown
    elif [[ $end == :0 ]]; then
        _files
    fi
}
if [[ ${funcstack[1]} == _PROGRAM ]]; then
    _PROGRAM "$@"
else
    compdef _PROGRAM PROGRAM
fi
