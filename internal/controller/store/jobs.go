package store

import "github.com/peerload/peerload/internal/controller/domain"

var jobs = schema[domain.Job, domain.JobFilter]{
	name: "jobs",
	columns: []column[domain.Job]{
		{"state", func(j domain.Job) any { return string(j.State) }},
		{"due", func(j domain.Job) any { return jobDue(j) }},
	},
	where: func(f domain.JobFilter) []condition {
		return within(equal(nil, "state", string(f.State)), "due > 0 AND due <= ?", f.DueBy)
	},
}

// jobDue is when somebody has to go on with a job; 0 is never.
func jobDue(j domain.Job) int64 {
	if !j.State.Active() {
		return 0
	}
	return max(1, micros(j.At))
}

var jobSteps = schema[domain.JobStep, domain.JobStepFilter]{
	name:    "job_steps",
	columns: []column[domain.JobStep]{{"job", func(s domain.JobStep) any { return s.Job }}},
	where:   func(f domain.JobStepFilter) []condition { return equal(nil, "job", f.Job) },
}

var templates = schema[domain.Template, domain.TextFilter]{
	name:    "templates",
	columns: []column[domain.Template]{{"search", func(t domain.Template) any { return search(t.Name, t.Note) }}},
	where:   textFilter,
}

var hooks = schema[domain.Webhook, domain.None]{name: "webhooks", where: nothing}

var deliveries = schema[domain.Delivery, domain.DeliveryFilter]{
	name: "deliveries",
	columns: []column[domain.Delivery]{
		{"webhook", func(d domain.Delivery) any { return d.Webhook }},
		{"state", func(d domain.Delivery) any { return string(d.State) }},
	},
	where: func(f domain.DeliveryFilter) []condition {
		return equal(equal(nil, "webhook", f.Webhook), "state", string(f.State))
	},
}
