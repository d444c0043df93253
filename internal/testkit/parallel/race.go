//go:build race

package parallel

const detector = true
