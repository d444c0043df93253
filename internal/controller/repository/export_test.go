package repository

import "github.com/peerload/peerload/internal/durable"

// WriteTo makes a repository write to a file system.
func (r *Repository) WriteTo(fs durable.FS) {
	r.disk = durable.Writer{FS: fs}
	r.keys.disk = r.disk
}
