// Package cluster shows that several replicas of the controller lose nothing that was
// acknowledged: replicas are killed, the database restarts, the disk of the object
// storage fills, and two versions of the program run at once. Everything is a process:
// the replicas, PostgreSQL, HAProxy with the file of packaging/cluster.
//
// What lives here: stories of whole clusters. What must not: what one controller does,
// which cmd/peerload-server tests, or one device, which e2e tests.
//
// Read cluster_test.go, then versions_test.go.
package cluster
