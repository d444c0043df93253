package main

import (
	"bytes"
	"debug/buildinfo"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	cyclonedx "github.com/CycloneDX/cyclonedx-go"
)

// writeBills writes the bill of materials of each program next to the packages.
func writeBills(o options, src source, built string) error {
	for _, t := range o.targets {
		for _, p := range t.Programs {
			info, err := buildinfo.ReadFile(filepath.Join(built, t.Folder(), p))
			if err != nil {
				return err
			}
			raw, err := bill(p, src, info)
			if err != nil {
				return err
			}
			name := strings.Join([]string{p, src.version, "linux", t.Arch}, "_") + ".cdx.json"
			if err := os.WriteFile(filepath.Join(o.out, name), raw, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

// bill is the bill of materials of a program, as the linker wrote into it what it
// was linked from: also Go itself, whose errors are those of its library.
func bill(program string, src source, info *buildinfo.BuildInfo) ([]byte, error) {
	b := cyclonedx.NewBOM()
	b.SpecVersion = cyclonedx.SpecVersion1_6 // 1.7 is not read everywhere yet
	b.Metadata = &cyclonedx.Metadata{
		Timestamp: src.date.Format("2006-01-02T15:04:05Z"),
		Component: &cyclonedx.Component{
			BOMRef: program, Type: cyclonedx.ComponentTypeApplication, Name: program, Version: src.version,
			PackageURL: "pkg:golang/" + info.Main.Path + "@v" + src.version + "#cmd/" + program,
			Licenses:   &cyclonedx.Licenses{{License: &cyclonedx.License{ID: "Apache-2.0"}}},
		},
	}
	version := strings.TrimPrefix(info.GoVersion, "go")
	parts := []cyclonedx.Component{{
		BOMRef: "pkg:golang/std@" + version, Type: cyclonedx.ComponentTypeLibrary, Name: "std", Version: version,
		PackageURL: "pkg:golang/std@" + version,
	}}
	for _, d := range info.Deps {
		parts = append(parts, component(d))
	}
	refs := make([]string, len(parts))
	for i, c := range parts {
		refs[i] = c.BOMRef
	}
	b.Components = &parts
	b.Dependencies = &[]cyclonedx.Dependency{{Ref: program, Dependencies: &refs}}
	var raw bytes.Buffer
	e := cyclonedx.NewBOMEncoder(&raw, cyclonedx.BOMFileFormatJSON)
	e.SetPretty(true)
	err := e.EncodeVersion(b, b.SpecVersion)
	return raw.Bytes(), err
}

// component is a module that is linked in. One that stands for another is ours,
// and has the version of the release.
func component(d *debug.Module) cyclonedx.Component {
	purl := "pkg:golang/" + d.Path + "@" + d.Version
	c := cyclonedx.Component{BOMRef: purl, Type: cyclonedx.ComponentTypeLibrary, Name: d.Path, Version: d.Version,
		PackageURL: purl}
	if d.Replace != nil {
		c.Description = "replaced by " + d.Replace.Path + " of Peerload, which has its names alone"
	}
	return c
}
