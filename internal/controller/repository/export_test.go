package repository

import "github.com/peerload/peerload/internal/durable"

// WriteTo makes a repository write to a file system.
func (r *Repository) WriteTo(fs durable.FS) {
	r.keys.disk = durable.Writer{FS: fs}
	r.tree = directory(r.where, r.keys.disk)
}
