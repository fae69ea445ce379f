//! A server that the chart runs: there its first container makes the site, and nobody types `formwork site create`.

use std::fmt;

/// The pod that this process is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pod {
    name: String,
    namespace: Option<String>,
}

impl Pod {
    /// That of this process; `None`: it is in none.
    pub(super) fn of_process() -> Option<Self> {
        Self::of(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
    }

    /// As the variables say that Kubernetes gives to each container, and the chart to its own.
    fn of(variable: impl Fn(&str) -> Option<String>) -> Option<Self> {
        variable("KUBERNETES_SERVICE_HOST")?;
        Some(Self { name: variable("HOSTNAME")?, namespace: variable("POD_NAMESPACE") })
    }

    /// What to do where there is no site yet; `otherwise`: where no chart runs it.
    pub(super) fn makes_site(this: Option<&Self>, otherwise: String) -> String {
        let Some(pod) = this else { return otherwise };
        format!(
            "the chart's container `site` makes it when the pod starts: `{} delete pod {}` starts it anew, and where that does not make \
             it, `{} logs {} -c site` says why",
            pod.kubectl(),
            pod.name,
            pod.kubectl(),
            pod.name
        )
    }

    /// How a command of this program is given, where the options of the server are its surroundings.
    pub(super) fn types(&self, command: &str) -> String {
        format!("{} exec {} -c formwork -- {command}", self.kubectl(), self.name)
    }

    fn kubectl(&self) -> impl fmt::Display {
        match &self.namespace {
            Some(namespace) => format!("kubectl -n {namespace}"),
            None => "kubectl".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_a_pod_the_chart_makes_the_site_and_elsewhere_a_person_does() {
        let of = |variables: &[(&str, &str)]| {
            Pod::of(|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
        };
        assert_eq!(of(&[("HOSTNAME", "host"), ("POD_NAMESPACE", "lab")]), None);
        let service = ("KUBERNETES_SERVICE_HOST", "10.0.0.1");
        let pod = of(&[service, ("HOSTNAME", "lab-0"), ("POD_NAMESPACE", "machines")]).unwrap();
        let typed = "formwork site create NAME".to_owned();
        assert_eq!(Pod::makes_site(None, typed.clone()), typed);
        let told = Pod::makes_site(Some(&pod), typed);
        assert!(told.contains("`kubectl -n machines logs lab-0 -c site`") && !told.contains("site create"), "{told}");
        let pod = of(&[service, ("HOSTNAME", "lab-0")]).unwrap();
        assert_eq!(pod.types("formwork status"), "kubectl exec lab-0 -c formwork -- formwork status");
    }
}
