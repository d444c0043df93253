// Package drafts has the guided form by which people make and change drafts of rollouts.
//
// What lives here: the fields of a draft and of a plan, and how they are read. What must
// not: how a rollout goes, which package pages shows, and what a plan may be, which is
// the API's.
//
// Read first: newRollout, then Change and wavesOf.
package drafts

import (
	"net/http"

	"github.com/peerload/peerload/client"
	"github.com/peerload/peerload/internal/controller/pages/frame"
)

// Add adds the pages to a frame.
func Add(f *frame.Frame) {
	for path, show := range map[string]func(*frame.Visit) error{"/rollouts/new": newRollout,
		"/rollouts/{rollout}/order/edit": editRollout} {
		f.Page("GET "+path, show)
		f.Page("POST "+path, show)
	}
}

// newRollout makes a draft; the address may say a part of it.
func newRollout(v *frame.Visit) error {
	f, err := form(v)
	if err != nil {
		return err
	}
	for i, is := range f.Fields {
		if said := v.Query(is.Name); said != "" && v.R.Method == http.MethodGet {
			f.Fields[i].Value = said
		}
	}
	return frame.Save(v, f, func() (string, error) {
		change, err := changeOf(v)
		if err != nil {
			return "", err
		}
		r, err := v.API.CreateRollout(v.Context(), v.Form("id"), change)
		if err != nil {
			return "", err
		}
		v.Say(v.T("The draft is made. Look at what it would do, and start it."), "")
		to, err := leave(v, r)
		if to == "" || err != nil {
			return "", err
		}
		return "", v.Go(to)
	})
}

// editRollout changes a draft.
func editRollout(v *frame.Visit) error {
	r, err := v.API.Rollout(v.Context(), v.Path("rollout"))
	if err != nil {
		return err
	}
	f, err := form(v)
	if err != nil {
		return err
	}
	path := frame.At("rollouts", r.ID)
	f.Title, f.Action, f.Back, f.Button = v.T("Change %s", r.ID), path+"/order/edit", path, v.T("Save")
	f.Fields, f.Hidden = f.Fields[1:], frame.VersionField(r.Version)
	fill(&f, r)
	return frame.Save(v, f, func() (string, error) {
		change, err := changeOf(v)
		if err != nil {
			return "", err
		}
		d, err := v.API.UpdateRollout(v.Context(), r.ID, change, frame.VersionOf(v))
		if err != nil {
			return "", err
		}
		return leave(v, d)
	})
}

// leave goes to a draft that was saved, by way of the secret of its external check if
// that is new.
func leave(v *frame.Visit, d client.RolloutDraft) (after string, err error) {
	to := frame.At("rollouts", d.ID)
	if d.CheckSecret == "" {
		return to, nil
	}
	return "", v.Show("secret", struct{ Title, Secret, Back string }{
		v.T("The secret that signs questions to the external check of %s", d.ID), d.CheckSecret, to})
}
