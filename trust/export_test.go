package trust

// What the tests outside the package look at.
const MaxBundleEntries = maxBundleEntries

var NewBundle = newBundle

func (b *Bundle) Paths() []string { return b.paths() }
