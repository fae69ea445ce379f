//! What a watch has shown: objects by name.

use super::link::is_older;
use kube::api::DynamicObject;
use kube::runtime::watcher::Event;
use std::collections::BTreeMap;

/// An object as far as it is of use here.
pub(super) trait Seen: Sized {
    /// Reads it.
    fn read(object: DynamicObject) -> Self;
    /// Its `metadata.resourceVersion`.
    fn version(&self) -> Option<&str>;
}

/// Objects by name.
pub(super) struct Objects<T> {
    seen: BTreeMap<String, T>,
    /// A list that is being read; it takes the place of the other when it is whole.
    filling: Option<BTreeMap<String, T>>,
    listed: bool,
}

impl<T> Default for Objects<T> {
    fn default() -> Self {
        Self { seen: BTreeMap::new(), filling: None, listed: false }
    }
}

impl<T: Seen> Objects<T> {
    /// Takes in what a watch shows.
    pub fn take(&mut self, event: Event<DynamicObject>) {
        match event {
            Event::Init => self.filling = Some(BTreeMap::new()),
            Event::InitApply(object) => {
                let filling = self.filling.get_or_insert_default();
                filling.insert(object.metadata.name.clone().unwrap_or_default(), T::read(object));
            }
            Event::InitDone => {
                self.listed = true;
                self.seen = self.filling.take().unwrap_or_default();
            }
            Event::Apply(object) => self.put(object),
            Event::Delete(object) => {
                self.seen.remove(object.metadata.name.as_deref().unwrap_or_default());
            }
        }
    }

    /// Takes in an object, unless a newer state of it is known: what was written here is known before a watch shows it.
    pub fn put(&mut self, object: DynamicObject) {
        let name = object.metadata.name.clone().unwrap_or_default();
        let known = self.seen.get(&name).and_then(T::version);
        if !is_older(object.metadata.resource_version.as_deref(), known) {
            self.seen.insert(name, T::read(object));
        }
    }

    /// One that is gone.
    pub fn remove(&mut self, name: &str) {
        self.seen.remove(name);
    }

    /// Whether all of them were ever seen.
    pub const fn listed(&self) -> bool {
        self.listed
    }

    /// All of them.
    pub const fn all(&self) -> &BTreeMap<String, T> {
        &self.seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Version(Option<String>);

    impl Seen for Version {
        fn read(object: DynamicObject) -> Self {
            Self(object.metadata.resource_version)
        }

        fn version(&self) -> Option<&str> {
            self.0.as_deref()
        }
    }

    #[test]
    fn a_list_takes_effect_whole_and_an_older_state_never_follows_a_newer_one() {
        let object = |name: &str, version: &str| -> DynamicObject {
            serde_json::from_value(serde_json::json!({"metadata": {"name": name, "resourceVersion": version}})).unwrap()
        };
        let mut objects: Objects<Version> = Objects::default();
        let names = |objects: &Objects<Version>| {
            objects.all().iter().map(|(name, it)| format!("{name}{}", it.0.as_deref().unwrap())).collect::<Vec<_>>()
        };
        objects.take(Event::Init);
        objects.take(Event::InitApply(object("a", "1")));
        assert!(!objects.listed() && names(&objects).is_empty());
        objects.take(Event::InitDone);
        assert!(objects.listed());
        objects.put(object("a", "9"));
        objects.take(Event::Apply(object("a", "8")));
        assert_eq!(names(&objects), ["a9"]);
        objects.take(Event::Apply(object("a", "10")));
        objects.take(Event::Apply(object("b", "11")));
        objects.take(Event::Delete(object("a", "12")));
        assert_eq!(names(&objects), ["b11"]);
        objects.take(Event::Init);
        assert_eq!(names(&objects), ["b11"], "what was seen goes on until the list is whole");
        objects.take(Event::InitDone);
        assert!(names(&objects).is_empty());
    }
}
