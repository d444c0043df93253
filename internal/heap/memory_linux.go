package heap

import "syscall"

// machineMemory is how many bytes of memory the machine has; 0 for unknown.
func machineMemory() uint64 {
	var is syscall.Sysinfo_t
	if syscall.Sysinfo(&is) != nil {
		return 0
	}
	return uint64(is.Totalram) * uint64(is.Unit)
}
