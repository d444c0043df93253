//go:build !linux

package heap

// machineMemory is how many bytes of memory the machine has; 0 for unknown.
func machineMemory() uint64 { return 0 }
