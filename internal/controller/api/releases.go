package api

import (
	"context"
	"fmt"
	"net/http"

	"github.com/peerload/peerload/internal/controller/domain"
	"github.com/peerload/peerload/internal/controller/rollout"
	"github.com/peerload/peerload/internal/controller/rollouts"
)

// NewRelease is a release to make.
type NewRelease struct {
	Name string `json:"name"`
	domain.ReleaseChange
}

// ReleaseRef names a release to assign.
type ReleaseRef struct {
	Release string `json:"release" maxLength:"64" doc:"the release's name, empty for none at this level"`
}

func (s *Server) releases() {
	register(s, op(http.MethodGet, "/releases", "list-releases", "List releases", needRead),
		func(ctx context.Context, in *TextQuery) (*plain[domain.List[domain.Release]], error) {
			l, err := s.ctl.Releases(ctx, actor(ctx), domain.TextFilter{Text: in.Text}, in.page())
			return answer(s, ctx, l, err)
		})
	register(s, op(http.MethodPost, "/releases", "create-release",
		"Make one name for the loads of several models", needLoads),
		func(ctx context.Context, in *struct{ Body NewRelease }) (*versioned[domain.Release], error) {
			r, err := s.ctl.CreateRelease(ctx, actor(ctx), in.Body.Name, in.Body.ReleaseChange)
			return answerVersion(s, ctx, r, r.Version, 0, err)
		})
	register(s, op(http.MethodGet, "/releases/{release}", "get-release", "A release", needRead),
		func(ctx context.Context, in *ReleasePath) (*versioned[domain.Release], error) {
			r, err := s.ctl.Release(ctx, actor(ctx), in.Release)
			return answerVersion(s, ctx, r, r.Version, 0, err)
		})
	register(s, op(http.MethodPatch, "/releases/{release}", "update-release",
		"Change a release; its loads stay while it is assigned", needLoads),
		func(ctx context.Context, in *struct {
			ReleasePath
			Changing[domain.ReleaseChange]
		}) (*versioned[domain.Release], error) {
			v, err := in.version()
			if err != nil {
				return nil, err
			}
			r, err := s.ctl.UpdateRelease(ctx, actor(ctx), in.Release, in.Body, v)
			return answerVersion(s, ctx, r, r.Version, v, err)
		})
	register(s, op(http.MethodDelete, "/releases/{release}", "delete-release",
		"Remove a release that is assigned nowhere; its loads stay", needLoads),
		func(ctx context.Context, in *struct {
			ReleasePath
			Match
		}) (*struct{}, error) {
			v, err := in.version()
			if err != nil {
				return nil, err
			}
			return nothing(s, ctx, v, s.ctl.DeleteRelease(ctx, actor(ctx), in.Release, v))
		})
	releaseAt[atDevice[ReleaseRef]](s, "/devices/{device}", "device", needDevices)
	releaseAt[atProfile[ReleaseRef]](s, "/profiles/{profile}", "profile", needDevices)
	releaseAt[atModel[ReleaseRef]](s, "/models/{model}", "model", needEnterprise)
	releaseAt[atEnterprise[ReleaseRef]](s, "/enterprise", "enterprise", needEnterprise)
}

// releaseAt assigns a release at one level.
func releaseAt[W changing[ReleaseRef]](s *Server, path, word string, may need) {
	register(s, op(http.MethodPut, path+"/release", "assign-"+word+"-release", "Assign a release at this level",
		may),
		func(ctx context.Context, in *W) (*versioned[domain.Assigned], error) {
			v, err := (*in).version()
			if err != nil {
				return nil, err
			}
			a, err := s.ctl.AssignRelease(ctx, actor(ctx), (*in).target(), (*in).body().Release, v)
			return answerVersion(s, ctx, a, a.Version, v, err)
		})
}

// NewRollout is a rollout to make.
type NewRollout struct {
	ID string `json:"id" maxLength:"64" doc:"its id, which is not used twice"`
	rollouts.Change
}

// RolloutPath names a rollout.
type RolloutPath struct {
	Rollout string `path:"rollout" doc:"the rollout's id"`
}

// verbs are the orders to rollouts, with what each does.
var verbs = map[rollouts.Verb]string{
	rollouts.ToStart:    "List the target and begin when it is time, after approval if the plan wants it",
	rollouts.ToApprove:  "Approve a plan that somebody else has made",
	rollouts.ToNext:     "Open the next wave now",
	rollouts.ToPause:    "Hand out nothing new",
	rollouts.ToResume:   "Go on; devices that have failed up to now pause it no more",
	rollouts.ToAbort:    "End it; what was done stays",
	rollouts.ToRollBack: "End it, and make and start a rollout that takes its devices back",
	rollouts.ToReplace:  "Replace a load by another one while the rollout is paused",
	rollouts.ToRetry:    "Try devices again that failed, were skipped or are silent",
	rollouts.ToSkip:     "Wait for these devices no longer",
}

func (s *Server) rollouts() {
	roll := s.cfg.Rollouts
	register(s, op(http.MethodGet, "/rollouts", "list-rollouts", "List rollouts", needRead),
		func(ctx context.Context, in *struct {
			Paged
			State  string `query:"state" enum:"draft,awaiting-approval,scheduled,running,paused,finished,aborted,rolled-back"`
			Active bool   `query:"active" doc:"only those that hold their devices"`
			Site   string `query:"site" maxLength:"64" doc:"those that have a device of this site; a draft has none yet"`
		}) (*plain[domain.List[rollouts.View]], error) {
			l, err := roll.List(ctx, actor(ctx), in.Site, domain.RolloutFilter{State: in.State, Active: in.Active}, in.page())
			return answer(s, ctx, l, err)
		})
	create := op(http.MethodPost, "/rollouts", "create-rollout", "Make a draft of a rollout; no device is touched",
		needDevices)
	create.Errors = append(create.Errors, http.StatusNotFound)
	create.MaxBodyBytes = rolloutBytes
	register(s, create, func(ctx context.Context, in *struct{ Body NewRollout }) (*versioned[rollouts.Created],
		error) {
		r, err := roll.Create(ctx, actor(ctx), in.Body.ID, in.Body.Change)
		return answerVersion(s, ctx, r, r.Version, 0, err)
	})
	register(s, op(http.MethodGet, "/rollouts/{rollout}", "get-rollout", "A rollout and how it goes", needRead),
		func(ctx context.Context, in *RolloutPath) (*versioned[rollouts.View], error) {
			r, err := roll.Get(ctx, actor(ctx), in.Rollout)
			return answerVersion(s, ctx, r, r.Version, 0, err)
		})
	update := op(http.MethodPatch, "/rollouts/{rollout}", "update-rollout", "Change a draft", needDevices)
	update.MaxBodyBytes = rolloutBytes
	register(s, update,
		func(ctx context.Context, in *struct {
			RolloutPath
			Changing[rollouts.Change]
		}) (*versioned[rollouts.Created], error) {
			v, err := in.version()
			if err != nil {
				return nil, err
			}
			r, err := roll.Edit(ctx, actor(ctx), in.Rollout, in.Body, v)
			return answerVersion(s, ctx, r, r.Version, v, err)
		})
	plan := op(http.MethodGet, "/rollouts/{rollout}/plan", "plan-rollout", "What a draft would do if it were started now",
		needRead)
	plan.Errors = append(plan.Errors, http.StatusConflict)
	register(s, plan, func(ctx context.Context, in *RolloutPath) (*plain[rollouts.Preview], error) {
		p, err := roll.Preview(ctx, actor(ctx), in.Rollout)
		return answer(s, ctx, p, err)
	})
	register(s, op(http.MethodGet, "/rollouts/{rollout}/devices", "list-rollout-devices",
		"How the devices of a rollout stand", needRead),
		func(ctx context.Context, in *struct {
			RolloutPath
			Paged
			AtSite
			Standing string `query:"standing" enum:"waiting,granted,began,done,had,failed,skipped,silent"`
		}) (*plain[domain.List[rollout.Row]], error) {
			l, err := roll.Devices(ctx, actor(ctx), domain.RolloutDeviceFilter{Rollout: in.Rollout, Site: in.Site,
				Standing: in.Standing}, in.page())
			return answer(s, ctx, l, err)
		})
	for _, v := range rollouts.Verbs() {
		s.rolloutOrder(v)
	}
}

// rolloutBytes bounds the body of a rollout: a target may name 10,000 devices.
const rolloutBytes = 4 << 20

// rolloutOrder registers one order.
func (s *Server) rolloutOrder(v rollouts.Verb) {
	o := does(op(http.MethodPost, "/rollouts/{rollout}/"+string(v), string(v)+"-rollout", verbs[v], needDevices))
	register(s, o, func(ctx context.Context, in *struct {
		RolloutPath
		Match
		DryRun bool `query:"dry_run" doc:"change nothing, and say what would be touched"`
		Body   *rollouts.Instruction
	}) (*versioned[rollouts.Done], error) {
		asked, err := in.version()
		if err != nil {
			return nil, err
		}
		order := rollouts.Instruction{}
		if in.Body != nil {
			order = *in.Body
		}
		done, err := s.cfg.Rollouts.Order(ctx, actor(ctx), in.Rollout, v, order, asked, in.DryRun)
		return answerVersion(s, ctx, done, done.Rollout.Version, asked, err)
	})
}

// fileSets are the operations of file sets.
func (s *Server) fileSets() {
	sets := s.cfg.FileSets
	register(s, op(http.MethodGet, "/filesets", "list-filesets", "List file sets", needRead),
		func(ctx context.Context, in *loadQuery) (*plain[domain.List[domain.FileSet]], error) {
			l, err := sets.List(ctx, actor(ctx), domain.LoadFilter{Text: in.Text, Retired: in.Retired}, in.page())
			return answer(s, ctx, l, err)
		})
	s.addFileSet()
	register(s, op(http.MethodGet, "/filesets/{fileset}", "get-fileset", "A file set", needRead),
		func(ctx context.Context, in *FileSetPath) (*versioned[domain.FileSet], error) {
			f, err := sets.Get(ctx, actor(ctx), in.FileSet)
			return answerVersion(s, ctx, f, f.Version, 0, err)
		})
	register(s, op(http.MethodPatch, "/filesets/{fileset}", "retire-fileset",
		"Take a file set out of use, or back", needLoads),
		func(ctx context.Context, in *struct {
			FileSetPath
			Changing[Retired]
		}) (*versioned[domain.FileSet], error) {
			v, err := in.version()
			if err != nil {
				return nil, err
			}
			f, err := sets.Retire(ctx, actor(ctx), in.FileSet, in.Body.Retired, v)
			return answerVersion(s, ctx, f, f.Version, v, err)
		})
	fileSetsAt[atDevice[domain.FileSetsChange]](s, "/devices/{device}", "device", needDevices)
	fileSetsAt[atProfile[domain.FileSetsChange]](s, "/profiles/{profile}", "profile", needDevices)
	fileSetsAt[atEnterprise[domain.FileSetsChange]](s, "/enterprise", "enterprise", needEnterprise)
}

// fileSetsAt assigns file sets at one level.
func fileSetsAt[W changing[domain.FileSetsChange]](s *Server, path, word string, may need) {
	register(s, op(http.MethodPatch, path+"/filesets", "change-"+word+"-filesets",
		"Assign file sets at this level, or assign them no more", may),
		func(ctx context.Context, in *W) (*versioned[domain.LevelSets], error) {
			v, err := (*in).version()
			if err != nil {
				return nil, err
			}
			c, err := s.ctl.ChangeFileSets(ctx, actor(ctx), (*in).target(), (*in).body(), v)
			return answerVersion(s, ctx, c, c.Version, v, err)
		})
}

// addFileSet publishes uploaded files as addLoad does.
func (s *Server) addFileSet() {
	add := op(http.MethodPost, "/filesets", "add-fileset", "Sign files as a file set and publish it", needLoads)
	add.Description = "The fields stand before the files: name, version, directory, model (repeated), replace (true). " +
		"Then the files, in the order in which devices fetch them."
	register(s, add, func(ctx context.Context, in *upload) (*versioned[domain.FileSet], error) {
		return published(ctx, s, in, func(form uploaded) (f domain.FileSet, version int64, err error) {
			if form.from != nil {
				return f, 0, fmt.Errorf("%w: only loads are installed from some versions", domain.ErrInvalid)
			}
			f, err = s.ctl.AddFileSet(ctx, actor(ctx), form.Request)
			return f, f.Version, err
		})
	}, takesForm([]string{"name", "version", "directory", "model", "file"}, "directory", textSchema()))
}
