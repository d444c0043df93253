# Completion of PROGRAM for bash 4.3 and later.
_PROGRAM() {
    local rest=${COMP_LINE:0:COMP_POINT} words=() lines=() trimmed word i
    # Words up to the cursor; those that bash has split at = or : are one.
    for ((i = 0; i <= COMP_CWORD; i++)); do
        trimmed=${rest#"${rest%%[![:space:]]*}"}
        word=${COMP_WORDS[i]}
        ((i < COMP_CWORD)) || word=$trimmed
        if ((i == 0)) || [[ $trimmed != "$rest" ]]; then
            words+=("$word")
        else
            words[-1]+=$word
        fi
        rest=${trimmed#"$word"}
    done
    mapfile -t lines < <(PROGRAM ASK "${words[@]:1}" 2>/dev/null)
    COMPREPLY=()
    ((${#lines[@]} > 0)) || return
    if [[ ${lines[-1]} == :4 ]]; then
        compopt +o default
    fi
    unset 'lines[-1]'
    local prefix= line text
    if [[ ${words[-1]} == --*=* && $COMP_WORDBREAKS != *=* ]]; then
        prefix=${words[-1]%%=*}=
    fi
    for line in "${lines[@]}"; do
        text=$prefix${line%%$'\t'*}
        # A list shows what the words mean; what is put into the line must not.
        if ((${#lines[@]} > 1 && (COMP_TYPE == 63 || COMP_TYPE == 33))) && [[ $line == *$'\t'* ]]; then
            printf -v text '%-20s (%s)' "$text" "${line#*$'\t'}"
            text=${text:0:${COLUMNS:-80} - 1}
        fi
        COMPREPLY+=("$text")
    done
}
complete -o default -F _PROGRAM PROGRAM
