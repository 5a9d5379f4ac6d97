"""What can be wrong with a deployment as a browser sees it, and the line that mends it."""

from __future__ import annotations

from .finding import Rule

RULES: dict[str, Rule] = {
    # --- reaching the service
    "unreachable": Rule(
        "error",
        "{url} does not answer: {problem}.",
        "Check the name in DNS, the firewall, and that the proxy listens there. For a certificate of your own: --ca-file.",
    ),
    "bad_gateway": Rule(
        "error",
        "The proxy answers {answer}: it does not reach the service.",
        "Check that the service runs, and the address and port that the proxy passes requests on to.",
    ),
    "path_not_passed": Rule(
        "error",
        "{url}/healthz answers {answer}, and not as Handstamp does.",
        "Let the proxy pass every path below {url}/ on to the service.",
    ),
    "path_prefix": Rule(
        "error",
        "The service answers at {url}, but does not know the path {path}.",
        "Set HANDSTAMP_ISSUER={url}, or let the proxy remove the path.",
    ),
    "no_https": Rule(
        "error",
        "{url} has no TLS: passwords and cookies can be read on their way.",
        "Give the proxy a certificate, let it redirect http to https, and set HANDSTAMP_ISSUER to the https URL.",
    ),
    "http_is_served": Rule(
        "error",
        "{url} is served without TLS too: who types the name sends the first request in the clear.",
        "Let the proxy answer port 80 with a redirect to https.",
    ),
    "wrong_issuer": Rule(
        "error",
        "The service calls itself {issuer}, and is reached at {url}: tokens, cookies and links name another address.",
        "Set HANDSTAMP_ISSUER={url}, or visit it at {issuer}.",
    ),
    "metadata_hidden": Rule(
        "warning",
        "{url} answers {answer}: OAuth clients look there for the metadata of an issuer with a path (RFC 8414 §3.1).",
        "Let the proxy pass this path on to the service too.",
    ),
    "clock_off": Rule(
        "error",
        "The clock there is {seconds} s {direction} this machine's.",
        "Let NTP set both clocks: tokens are refused before and after their time.",
    ),
    # --- keys, feed, caches
    "keys_unreachable": Rule(
        "error",
        "{url} answers {answer}: verifiers get no keys.",
        "Let the proxy pass this path on, without a login of its own.",
    ),
    "keys_cached": Rule(
        "error",
        "{url} may be kept for {seconds} s, where the service says {wanted} s: verifiers get new keys too late.",
        "Remove the proxy's own caching and Cache-Control (nginx: expires, proxy_cache) for this path.",
    ),
    "keys_stale": Rule(
        "error",
        "{url} was in a cache for {seconds} s, where the service says {wanted} s: verifiers get new keys too late.",
        "Let the cache follow Cache-Control, or turn it off for this path.",
    ),
    "answers_cached": Rule(
        "error",
        "A cache has answered {path}: people can get each other's answers.",
        "Turn the cache of the proxy or of the CDN off for all paths of the service.",
    ),
    "renewals_cached": Rule(
        "error",
        "A cache has answered POST {path}: one person can get the tokens of another, and a client gets old ones.",
        "Turn the cache off for all paths of the service, and cache no POST (nginx: proxy_cache, proxy_cache_methods).",
    ),
    "feed_cached": Rule(
        "error",
        "A cache has answered {path}: verifiers do not learn who has signed out, and strangers can read it.",
        "Turn the cache of the proxy or of the CDN off for /revocations.",
    ),
    "feed_blocked": Rule(
        "error",
        "{url} answers {answer}: verifiers do not learn who has signed out.",
        "Let the proxy pass /revocations and its Authorization field on.",
    ),
    "feed_cut": Rule(
        "error",
        "A request that waits for revocations was answered {answer} after {seconds} s. Verifiers wait for {wait} s.",
        "Let the proxy wait longer: nginx proxy_read_timeout 30s; HAProxy timeout server 30s; Caddy read_timeout 30s.",
    ),
    "feed_early": Rule(
        "error",
        "A request that waits {wait} s for revocations was answered after {seconds} s, without any: verifiers ask without pause.",
        "Let the proxy pass the query of /revocations on, and answer from no cache.",
    ),
    # --- cookies and header fields
    "cookies_removed": Rule(
        "error", "The sign-in page sends no cookie, so people cannot sign in.", "Let the proxy pass the header Set-Cookie on."
    ),
    "cookie_prefix": Rule(
        "error",
        "The cookie {name} has no prefix __Host-: every subdomain could set it.",
        "Set HANDSTAMP_ISSUER to the https URL, and let no proxy rename cookies.",
    ),
    "cookie_domain": Rule(
        "error",
        "The cookie {name} has Domain={value}: browsers drop it, so people cannot sign in.",
        "Remove what adds the domain (nginx: proxy_cookie_domain; HAProxy: http-response replace-header Set-Cookie).",
    ),
    "cookie_path": Rule(
        "error",
        "The cookie {name} has Path={value} instead of /: browsers drop it, so people cannot sign in.",
        "Remove what changes the path (nginx: proxy_cookie_path).",
    ),
    "cookie_insecure": Rule(
        "error",
        "The cookie {name} is not Secure: browsers drop it, so people cannot sign in.",
        "Remove what changes cookies (nginx: proxy_cookie_flags).",
    ),
    "cookie_readable": Rule(
        "error",
        "The cookie {name} is not HttpOnly: scripts can read it.",
        "Remove what changes cookies (nginx: proxy_cookie_flags).",
    ),
    "cookie_samesite": Rule(
        "error",
        "The cookie {name} has SameSite={value}: requests of other sites bring it.",
        "Remove what changes cookies (nginx: proxy_cookie_flags).",
    ),
    "request_too_large": Rule(
        "error",
        "A request with {size} bytes of cookies was answered {answer}.",
        "Allow larger heads: nginx large_client_header_buffers 4 16k; HAProxy tune.bufsize 32768.",
    ),
    "answer_too_large": Rule(
        "error",
        "An answer with {size} bytes of cookies did not come through: {answer}.",
        "Allow larger heads: nginx proxy_buffer_size 16k and proxy_buffers 8 16k; HAProxy tune.bufsize 32768.",
    ),
    "no_hsts": Rule(
        "warning",
        "Strict-Transport-Security is missing: browsers may try http first.",
        "Set HANDSTAMP_ISSUER to the https URL, and let the proxy pass the field on.",
    ),
    "headers_removed": Rule(
        "error",
        "The pages arrive without {names}, which protect them.",
        "Let the proxy pass these fields on (nginx: proxy_hide_header; Caddy: header_down -).",
    ),
    "errors_replaced": Rule(
        "error",
        "{path} answers {answer} in the proxy's own words: clients cannot tell why they were refused.",
        "Let the proxy pass errors on (nginx: proxy_intercept_errors off; Caddy: handle_errors; HAProxy: http-errors).",
    ),
    "methods_blocked": Rule(
        "error",
        "{method} is answered {answer} by the proxy.",
        "Allow GET, POST, PATCH, DELETE and OPTIONS.",
    ),
    # --- other origins
    "cors_refused": Rule(
        "error",
        "Pages of {origin} may not call the service.",
        "Add it: HANDSTAMP_TRUSTED_ORIGINS={origin} (several are separated by commas).",
    ),
    "cors_preflight": Rule(
        "error",
        "The question whether pages of {origin} may call the service was answered {answer} by the proxy.",
        "Let the proxy pass OPTIONS on, without a login and without an answer of its own.",
    ),
    "cors_doubled": Rule(
        "error",
        "Pages of {origin} get Access-Control-Allow-Origin twice: browsers then refuse the answer.",
        "Remove the field from the proxy's configuration: the service sends it.",
    ),
    "cors_wildcard": Rule(
        "error",
        "Pages of {origin} get Access-Control-Allow-Origin: *, with which browsers send no cookie.",
        "Remove the field from the proxy's configuration: the service sends it.",
    ),
    "cors_credentials": Rule(
        "error",
        "Pages of {origin} get no Access-Control-Allow-Credentials: browsers then send no cookie.",
        "Remove what changes the field in the proxy: the service sends it.",
    ),
    "cors_open": Rule(
        "error",
        "Every site in the world may read the answers: {origin}, which does not exist, is allowed.",
        "Remove Access-Control-Allow-Origin from the proxy's configuration: the service sends it to trusted origins.",
    ),
    "other_site": Rule(
        "warning",
        "{origin} is on another site than {url}: browsers send no cookies from its pages.",
        "Serve both below one domain, as app.example.com and auth.example.com, or take tokens (delivery json).",
    ),
    # --- what the proxy tells the service
    "proxy_not_trusted": Rule(
        "error",
        "The service does not believe its proxy {peer}: all people count as one network and share its limits.",
        "Set HANDSTAMP_TRUSTED_PROXIES={peer}.",
    ),
    "address_missing": Rule(
        "error",
        "The proxy {peer} does not say from which address a request came: all people count as one network.",
        "nginx: proxy_set_header X-Forwarded-For $remote_addr; HAProxy: option forwardfor. Caddy does it.",
    ),
    "address_believed": Rule(
        "error",
        "The proxy passes on X-Forwarded-For as the client wrote it: everybody can choose their address and escape the limits.",
        "nginx: proxy_set_header X-Forwarded-For $remote_addr; HAProxy: http-request set-header X-Forwarded-For %[src].",
    ),
    "trusts_too_many": Rule(
        "error",
        "The service trusts {addresses} as a proxy: whoever connects from there can choose their address and escape the limits.",
        "Name the proxies alone in HANDSTAMP_TRUSTED_PROXIES, not the network of the clients.",
    ),
    "scheme_missing": Rule(
        "error",
        "The proxy does not say that requests came with TLS: it sends X-Forwarded-Proto: {value}.",
        "nginx: proxy_set_header X-Forwarded-Proto $scheme; HAProxy: http-request set-header X-Forwarded-Proto https.",
    ),
    "scheme_wrong": Rule(
        "error",
        "The proxy tells the service that requests came without TLS: sign-ins are refused.",
        "Let the proxy that ends TLS say so: nginx: proxy_set_header X-Forwarded-Proto https.",
    ),
    "host_rewritten": Rule(
        "warning",
        "The service is asked for {host} instead of {wanted}.",
        "nginx: proxy_set_header Host $http_host; Apache: ProxyPreserveHost On.",
    ),
    "origin_removed": Rule(
        "error",
        "The proxy removes {names}, by which the service knows requests of other sites.",
        "Let the proxy pass these fields of the request on.",
    ),
    "upgrade_passed": Rule(
        "error",
        "The proxy switches protocols (status 101) on request: what follows passes it unseen.",
        "Remove the rule for Upgrade from the service's paths: it has no WebSockets.",
    ),
    "connection_upgrade": Rule(
        "warning",
        "Every request reaches the service with Connection: {value}, so connections are not kept.",
        'nginx: proxy_http_version 1.1 and proxy_set_header Connection "" for the service.',
    ),
    "keep_alive": Rule(
        "error",
        "The service closed {count} idle connections of {peer} first, after {seconds} s: requests on them are lost.",
        "Set HANDSTAMP_KEEP_ALIVE longer than the proxy keeps its connections (nginx: 60s; Caddy: 2m).",
    ),
}
