{{/* What is wrong with single values, in words: a schema could refuse them too, and would say that a pattern does not match, or that 'not' failed. */}}
{{- define "formwork.checkValues" -}}
{{- if eq .Values.image.tag "latest" }}
{{- fail "image.tag: latest is another image from day to day; name a version, or leave it off and give image.digest" }}
{{- end }}
{{- if hasKey .Values.images.volume "name" }}
{{- fail "images.volume: the chart gives the volume its name; leave name off" }}
{{- end }}
{{- /* The URL itself is never said again: there may be a password in it. */}}
{{- with .Values.source.url }}
{{- if or (hasPrefix "http://" (lower .)) (hasPrefix "git://" (lower .)) }}
{{- fail "source.url: whoever is on the way could change what it gives; use https:// or ssh://" }}
{{- end }}
{{- if regexMatch "(?i)^[a-z][a-z0-9+.-]*://[^/]*:[^/@]*@|^[^/]*:[^/@]*@|^https://[^/]*@" . }}
{{- fail "source.url: there is a user or a password in it, which everybody would read who sees the release; leave it out, and put it into the Secret that source.secretName names" }}
{{- end }}
{{- if regexMatch "(?i)^https://.*[?#]" . }}
{{- fail "source.url: a repository's URL has no ? and no #; a token belongs into the Secret that source.secretName names" }}
{{- end }}
{{- if or (regexMatch "\\s" .) (not (or (regexMatch "^(https|ssh)://[^/]+/|^file:///|^/" .) (and (not (contains "://" .)) (regexMatch "^[^/:]+:" .)))) }}
{{- fail "source.url: this is no URL of a repository; write https://HOST/PATH, ssh://USER@HOST/PATH, USER@HOST:PATH, or a path that begins with /" }}
{{- end }}
{{- end }}
{{- range $word := list "branch" "tag" }}
{{- with index $.Values.source $word }}
{{- if or (not (regexMatch "^[A-Za-z0-9_][A-Za-z0-9_./@#%+=-]*$" .)) (regexMatch "\\.\\.|//|@\\{|/$|\\.lock$|\\.$" .) }}
{{- fail (printf "source.%s: %q is no name of a %s; write it without refs/heads/ or refs/tags/, such as main or v1.2.0" $word . $word) }}
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.source.commit }}
{{- if not (regexMatch "^[0-9a-f]{40}$" .) }}
{{- fail (printf "source.commit: %q is no commit; write all 40 characters of its id, in lower case" .) }}
{{- end }}
{{- end }}
{{- with .Values.source.path }}
{{- if or (regexMatch "[\\\\\\n]|^\\s|^/|//" .) (regexMatch "(^|/)\\.\\.?(/|$)" .) }}
{{- fail (printf "source.path: %q is no folder inside the repository; write it from its root, such as sites/lab, without a / before it and without . and .." .) }}
{{- end }}
{{- end }}
{{- with .Values.source.interval }}
{{- if not (regexMatch "^[0-9]{1,9}(s|m|h|d)$" .) }}
{{- fail (printf "source.interval: %q is no length of time; write a number and its unit, such as 30s, 5m, 1h or 1d" .) }}
{{- end }}
{{- end }}
{{- with .Values.network.address }}
{{- if not (regexMatch "^(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])(\\.(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])){3}$" .) }}
{{- fail (printf "network.address: %q is no IPv4 address, such as 10.77.0.1" .) }}
{{- end }}
{{- if regexMatch "^(0|127|22[4-9]|2[34][0-9]|25[0-5])\\." . }}
{{- fail (printf "network.address: no machine reaches a server at %s; say the address that it has in the boot network" .) }}
{{- end }}
{{- end }}
{{- range $place := list (list "network.httpPort" .Values.network.httpPort) (list "network.apiPort" .Values.network.apiPort) (list "metrics.port" .Values.metrics.port) }}
{{- if eq (int (index $place 1)) 8444 }}
{{- fail (printf "%s: at 8444 the server listens for the cluster's own Service; choose another port" (index $place 0)) }}
{{- end }}
{{- end }}
{{- end }}
