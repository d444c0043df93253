# Completion of PROGRAM for fish.
function __PROGRAM_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l lines (PROGRAM ASK $words[2..-1] "$current" 2>/dev/null)
    set -l prefix (string match -r -- '^--[^=]+=' "$current")
    if test (count $lines) -gt 1
        for line in $lines[1..-2]
            printf '%s\n' "$prefix$line"
        end
    else if test "$lines" = :0
        for line in (__fish_complete_path (string replace -r -- '^--[^=]+=' '' "$current"))
            printf '%s\n' "$prefix$line"
        end
    end
end
complete -c PROGRAM -f -a '(__PROGRAM_complete)'
