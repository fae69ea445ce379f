//! The one resolver of params: jobs, boots, plans and `formwork why` all ask it.
