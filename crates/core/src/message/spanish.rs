//! Spanish, in the words of Spanish-speaking SREs: each English sentence and its translation. A key that ends in a space is
//! the plural of one that is the same in English.

/// Every sentence.
pub(super) const TEXTS: &[(&str, &str)] = &[
    ("{names} is slow", "{names} va lento"),
    ("{names} are slow", "{names} van lentos"),
    ("{names} is failing", "{names} está fallando"),
    ("{names} are failing", "{names} están fallando"),
    (
        "checks of {names} are failing",
        "las comprobaciones de {names} fallan",
    ),
    (
        "{names} has become part of incident {number}.",
        "{names} pasa a formar parte del incidente {number}.",
    ),
    (
        "{names} have become part of incident {number}.",
        "{names} pasan a formar parte del incidente {number}.",
    ),
    (
        "{names} has been slow since {since} and did not become faster. Since {resolved_at} this counts as the new baseline.",
        "{names} está lento desde {since} y no ha mejorado. Desde {resolved_at} se toma como nueva línea base.",
    ),
    (
        "{names} have been slow since {since} and did not become faster. Since {resolved_at} this counts as the new baseline.",
        "{names} están lentos desde {since} y no han mejorado. Desde {resolved_at} se toma como nueva línea base.",
    ),
    ("{recovered} at {end_time}", "{recovered} el {end_time}"),
    (" (confirmed at {at})", " (confirmado a las {at})"),
    (
        ". It lasted {lasted}, from {since}: {cause}.",
        ". Duró {lasted}, desde {since}: {cause}.",
    ),
    (
        " {slow}, which counts as the new baseline.",
        " {slow}, lo que se toma como nueva línea base.",
    ),
    (
        "The provider has been rejecting {names} since {since}: {cause}.",
        "El proveedor rechaza {names} desde {since}: {cause}.",
    ),
    (
        "{names} has been unreachable from this machine since {since}: {cause}.",
        "{names} no es accesible desde esta máquina desde {since}: {cause}.",
    ),
    (
        "{names} have been unreachable from this machine since {since}: {cause}.",
        "{names} no son accesibles desde esta máquina desde {since}: {cause}.",
    ),
    (
        "{names} has been {manner} since {since}: {cause}.",
        "{names} está {manner} desde {since}: {cause}.",
    ),
    (
        "{names} have been {manner} since {since}: {cause}.",
        "{names} están {manner} desde {since}: {cause}.",
    ),
    (
        "{vendor}: {names} removed from the configuration",
        "{vendor}: {names} ya no está en la configuración",
    ),
    (
        "{vendor}: {names} still slow after {lasted}; this is the new baseline",
        "{vendor}: {names} sigue lento tras {lasted}; es la nueva línea base",
    ),
    (
        "{vendor}: {names} now part of incident {number}",
        "{vendor}: {names} ahora forma parte del incidente {number}",
    ),
    (
        "{vendor}: {recovered} after {lasted} (was: {cause}){still}",
        "{vendor}: {recovered} tras {lasted} (causa: {cause}){still}",
    ),
    (
        "now {now} (usual value not learned yet)",
        "ahora {now} (aún no se conoce el valor habitual)",
    ),
    (
        "typically {typical}, now no response",
        "habitual {typical}, ahora sin respuesta",
    ),
    (
        "typically {typical}, now {now}{factor}",
        "habitual {typical}, ahora {now}{factor}",
    ),
    ("{bad} of {all} slow", "{bad} de {all} lentos"),
    (" (typically {rate})", " (lo habitual: {rate})"),
    (
        "{bad} of {all} failed{typical}",
        "{bad} de {all} fallidos{typical}",
    ),
    (
        "It says \"{status}\" and does not mention this.",
        "Indica \"{status}\" y no menciona este problema.",
    ),
    (
        "It says \"{status}\": \"{theirs}\", published at {at}, {by} after it was detected here.",
        "Indica \"{status}\": \"{theirs}\", publicado el {at}, {by} después de que se detectara aquí.",
    ),
    (
        "It says \"{status}\": \"{theirs}\", published at {at}, {by} before it was detected here.",
        "Indica \"{status}\": \"{theirs}\", publicado el {at}, {by} antes de que se detectara aquí.",
    ),
    (
        "It says \"{status}\": \"{theirs}\".",
        "Indica \"{status}\": \"{theirs}\".",
    ),
    (
        "{names} was removed from the configuration, so the incident is closed. Nothing is known about a recovery.",
        "{names} se ha quitado de la configuración, por lo que el incidente se cierra. No se sabe si se ha recuperado.",
    ),
    (
        "{names} were removed from the configuration, so the incident is closed. Nothing is known about a recovery.",
        "{names} se han quitado de la configuración, por lo que el incidente se cierra. No se sabe si se han recuperado.",
    ),
    ("{names} recovered", "{names} se ha recuperado"),
    ("{names} recovered ", "{names} se han recuperado"),
    ("{names} is still slow", "{names} sigue lento"),
    ("{names} are still slow", "{names} siguen lentos"),
    (
        "{failed} of {probes} probes were slow",
        "{failed} de {probes} sondeos fueron lentos",
    ),
    (
        "{failed} of {probes} probes failed",
        "{failed} de {probes} sondeos fallaron",
    ),
    (
        "{failed} of the last {probes} probes were slow",
        "{failed} de los últimos {probes} sondeos fueron lentos",
    ),
    (
        "{failed} of the last {probes} probes failed",
        "{failed} de los últimos {probes} sondeos fallaron",
    ),
    (
        "{what} ({cause}): {names} unreachable",
        "{what} ({cause}): no se puede acceder a {names}",
    ),
    (
        "{vendor}: {names} still slow; this is the new baseline",
        "{vendor}: {names} sigue lento; es la nueva línea base",
    ),
    (", {name} only", ", solo {name}"),
    (
        "typically {rate} fail",
        "lo habitual es que falle el {rate}",
    ),
    (
        "this is no longer attributed to the provider ({why})",
        "esto ya no se atribuye al proveedor ({why})",
    ),
    (
        "After {after} {why}; it continues as part of incident {number}: {share}{faults}.",
        "Tras {after}, {why}; continúa como parte del incidente {number}: {share}{faults}.",
    ),
    ("HTTP {status}", "HTTP {status}"),
    (
        "Until now this was attributed to the provider: {why}.",
        "Hasta ahora se atribuía al proveedor: {why}.",
    ),
    (
        "{name} at the same provider is not affected.",
        "{name}, del mismo proveedor, no está afectado.",
    ),
    ("{list} is not affected.", "{list} no está afectado."),
    ("{list} are not affected.", "{list} no están afectados."),
    ("the model {model}", "el modelo {model}"),
    (
        "the API key for {names} was rejected",
        "se ha rechazado la clave de API de {names}",
    ),
    (
        "the API key for {names} lacks permission",
        "la clave de API de {names} no tiene permisos",
    ),
    (
        "the quota or credit for {names} is exhausted",
        "la cuota o el saldo de {names} se ha agotado",
    ),
    (
        "{names} exceeds the account's own rate limit",
        "{names} supera el límite de peticiones de la cuenta",
    ),
    (
        "{names} does not accept this machine's address or region",
        "{names} no acepta la dirección o la región de esta máquina",
    ),
    (
        "{model} of {names} was not found",
        "no se ha encontrado {model} de {names}",
    ),
    (
        "the request of {names} was rejected",
        "se ha rechazado la petición de {names}",
    ),
    (
        "`max_tokens` of {names} is too small for {model}",
        "`max_tokens` de {names} es insuficiente para {model}",
    ),
    (
        "a content filter removes the answer of {names}",
        "un filtro de contenido elimina la respuesta de {names}",
    ),
    (
        "{model} of {names} refuses to answer the prompt",
        "{model} de {names} se niega a responder al prompt",
    ),
    (
        "{names} cannot be used: {why}",
        "{names} no se puede usar: {why}",
    ),
    (
        "since {at} nothing points to the provider",
        "desde {at} nada apunta al proveedor",
    ),
    (
        "{list} recovered at {at}, and {names} did not",
        "{list} se recuperó el {at}, pero {names} no",
    ),
    (
        "Regional: only {here} is affected; {others} of {vendor} answers.",
        "Problema regional: solo {here} está afectado; {others} de {vendor} responde.",
    ),
    ("{n} other endpoint answers", "{n} endpoint más responde"),
    (
        "{n} other endpoints answer",
        "otros {n} endpoints responden",
    ),
    ("{n} other model answers", "{n} modelo más responde"),
    ("{n} other models answer", "otros {n} modelos responden"),
    (
        "Only {name} is affected; {others}.",
        "Solo {name} está afectado; {others}.",
    ),
    (
        "The same model answers at {endpoint} ({vendor}), so this machine's network is not the cause.",
        "El mismo modelo responde en {endpoint} ({vendor}), así que la causa no es la red de esta máquina.",
    ),
    (
        "{endpoint} answers from here, so this machine's network is not the cause.",
        "{endpoint} responde desde aquí, así que la causa no es la red de esta máquina.",
    ),
    (
        "Caused by incident {number} (dependency).",
        "Causado por el incidente {number} (dependencia).",
    ),
    (
        "{names} depends on it and fails as well.",
        "{names} depende de ello y también falla.",
    ),
    (
        "{names} depend on it and fail as well.",
        "{names} dependen de ello y también fallan.",
    ),
    (
        "No longer attributed to the provider: {why}.",
        "Ya no se atribuye al proveedor: {why}.",
    ),
    ("{n} endpoints", "{n} endpoints"),
    (
        "It answers late, while {other} answers from here as usual.",
        "Responde tarde, mientras que {other} responde desde aquí con normalidad.",
    ),
    (
        "{other} answers from here at the same time.",
        "{other} responde desde aquí al mismo tiempo.",
    ),
    (" (HTTP {status})", " (HTTP {status})"),
    (
        "The API itself answered{status}, but not correctly.",
        "La propia API ha respondido{status}, pero no de forma correcta.",
    ),
    (
        "The error came from the API itself{status}, not from your network or account.",
        "El error procede de la propia API{status}, no de su red ni de su cuenta.",
    ),
    ("probes failed", "los sondeos fallaron"),
    (
        " (usual rate not learned yet)",
        " (aún no se conoce la tasa habitual)",
    ),
    (
        "suspected provider fault, ",
        "posible fallo del proveedor, ",
    ),
    (
        "the provider rejects other accounts as well",
        "resultó que el proveedor también rechaza otros",
    ),
    (
        "The model was found until now; it may have been retired.",
        "Hasta ahora el modelo existía; puede que lo hayan retirado.",
    ),
    ("the model", "el modelo"),
    (
        "The provider answers and rejects this account or request.",
        "El proveedor responde y rechaza esta cuenta o petición.",
    ),
    ("It answers, but late.", "Responde, pero tarde."),
    ("{location} is offline", "{location} está sin conexión"),
    (
        "{location} is online again after {after}; {n} probe missed",
        "{location} vuelve a tener conexión tras {after}; {n} sondeo perdido",
    ),
    (
        "{location} is online again after {after}; {n} probes missed",
        "{location} vuelve a tener conexión tras {after}; {n} sondeos perdidos",
    ),
    (
        "{location}: daily probing budget exhausted",
        "{location}: presupuesto diario de sondeos agotado",
    ),
    (
        "{location}: probing resumed, daily budget reset",
        "{location}: se reanudan los sondeos, presupuesto diario renovado",
    ),
    (
        "{location} cannot write its database: {error}",
        "{location} no puede escribir en su base de datos: {error}",
    ),
    (
        "{location}: database writes recovered after {after}",
        "{location}: la base de datos vuelve a aceptar escrituras tras {after}",
    ),
    (
        "the channel `{channel}` is failing: {error}",
        "el canal `{channel}` falla: {error}",
    ),
    (
        "the channel `{channel}` is failing",
        "el canal `{channel}` falla",
    ),
    (
        "the channel `{channel}` recovered after {after}",
        "el canal `{channel}` se ha recuperado tras {after}",
    ),
    (
        "the channel `{channel}` does not reach every recipient: {who}",
        "el canal `{channel}` no llega a todos los destinatarios: {who}",
    ),
    (
        "{vendor}'s status page: {name}; our probes are unaffected",
        "Página de estado de {vendor}: {name}; nuestros sondeos no están afectados",
    ),
    (
        "{vendor}'s status page: {name} has ended",
        "Página de estado de {vendor}: {name} ha terminado",
    ),
    (
        "{n} early warning at {location}",
        "{n} aviso temprano en {location}",
    ),
    (
        "{n} early warnings at {location}",
        "{n} avisos tempranos en {location}",
    ),
    ("{n} open incident", "{n} incidente abierto"),
    ("{n} open incidents", "{n} incidentes abiertos"),
    ("{n} incident ended", "{n} incidente terminado"),
    ("{n} incidents ended", "{n} incidentes terminados"),
    ("{opened}, {n} more ended", "{opened}, {n} más terminado"),
    ("{opened}, {n} more ended ", "{opened}, {n} más terminados"),
    (
        "From {from} to {to} this machine was offline: {why}. {n} probe measured nothing. The gap is recorded as unknown, not as downtime.",
        "Desde {from} hasta {to} esta máquina estuvo sin conexión: {why}. {n} sondeo no midió nada. El intervalo se registra como desconocido, no como caída.",
    ),
    (
        "From {from} to {to} this machine was offline: {why}. {n} probes measured nothing. The gap is recorded as unknown, not as downtime.",
        "Desde {from} hasta {to} esta máquina estuvo sin conexión: {why}. {n} sondeos no midieron nada. El intervalo se registra como desconocido, no como caída.",
    ),
    (
        "no host name resolved",
        "no se resolvía ningún nombre de host",
    ),
    (
        "neither the providers nor the connectivity checks answered",
        "no respondían ni los proveedores ni las comprobaciones de conectividad",
    ),
    (
        "{vendor} has published this on its status page. This is for information only: our probes are unaffected and no incident is open.",
        "{vendor} ha publicado esto en su página de estado. Es solo informativo: nuestros sondeos no están afectados y no hay ningún incidente abierto.",
    ),
    ("published at {at}", "publicado el {at}"),
    ("components: {list}", "componentes: {list}"),
    (
        "It is no longer on the vendor's status page.",
        "Ya no figura en la página de estado del proveedor.",
    ),
    ("typically", "habitual"),
    ("now", "ahora"),
    (
        "llmwatch {version} at {location}, notification {id}",
        "llmwatch {version} en {location}, notificación {id}",
    ),
    (
        "{name}: first token {first_token}, availability {availability} in 24 h",
        "{name}: primer token {first_token}, disponibilidad {availability} en 24 h",
    ),
    (
        "last hour of {endpoint}: {hour}",
        "última hora de {endpoint}: {hour}",
    ),
    (
        "{outcome}, from {from} to {to}.",
        "{outcome}, de {from} a {to}.",
    ),
    (
        "{names} has been {how} since {since}: {whose}.",
        "{names} está {how} desde {since}: {whose}.",
    ),
    (
        "{names} have been {how} since {since}: {whose}.",
        "{names} están {how} desde {since}: {whose}.",
    ),
    (
        "{names} has been rejected since {since}: your account or configuration, not a provider outage.",
        "El proveedor rechaza {names} desde {since}: es su cuenta o su configuración, no una caída del proveedor.",
    ),
    (
        "{names} have been rejected since {since}: your account or configuration, not a provider outage.",
        "El proveedor rechaza {names} desde {since}: es su cuenta o su configuración, no una caída del proveedor.",
    ),
    (
        "{names} has been unreachable since {since}: the cause is this machine, not the provider.",
        "{names} no es accesible desde {since}: la causa es esta máquina, no el proveedor.",
    ),
    (
        "{names} have been unreachable since {since}: the cause is this machine, not the provider.",
        "{names} no son accesibles desde {since}: la causa es esta máquina, no el proveedor.",
    ),
    (" {name} ({title}) works.", " {name} ({title}) funciona."),
    (" {others} is failing as well.", " {others} también falla."),
    (
        " {others} are failing as well.",
        " {others} también fallan.",
    ),
    ("Why: {reason}.", "Motivo: {reason}."),
    (
        "{at}, {after} after the first slow probe",
        "{at}, {after} después del primer sondeo lento",
    ),
    (
        "{at}, {after} after the first failed probe",
        "{at}, {after} después del primer sondeo fallido",
    ),
    (" by {by}", " por {by}"),
    ("time ({zone})", "hora ({zone})"),
    ("slow, first token {first}", "lento, primer token {first}"),
    ("It answered: {answer}", "Respondió: {answer}"),
    ("incident page", "página del incidente"),
    ("status page", "página de estado"),
    ("provider's status page", "página de estado del proveedor"),
    ("details", "detalles"),
    (
        "acknowledge with one click",
        "confirmar recepción con un clic",
    ),
    ("acknowledge", "confirmar recepción"),
    ("Please note", "Importante"),
    ("What happened", "Qué ha pasado"),
    ("What is broken, and since when", "Qué falla y desde cuándo"),
    ("What it means", "Qué significa"),
    (
        "Whose fault, and why we think so",
        "De quién es el fallo y por qué lo creemos",
    ),
    ("In detail", "En detalle"),
    ("The numbers", "Los datos"),
    (
        "The provider's status page",
        "La página de estado del proveedor",
    ),
    ("What works instead", "Qué funciona en su lugar"),
    (
        "Request IDs for a support ticket",
        "ID de petición para un ticket de soporte",
    ),
    ("Commands", "Comandos"),
    (
        "probably the provider's fault",
        "probablemente es fallo del proveedor",
    ),
    ("the provider's fault", "es fallo del proveedor"),
    (
        " You monitor no alternative.",
        " No monitoriza ninguna alternativa.",
    ),
    (
        " No alternative works right now.",
        " Ahora mismo no funciona ninguna alternativa.",
    ),
    (
        "You monitor no alternative: add an endpoint with the same `group` to get one.",
        "No monitoriza ninguna alternativa: añada un endpoint con el mismo `group` para tener una.",
    ),
    (
        "No alternative works: no other endpoint of the same `group`, or of the same kind, is healthy right now.",
        "No funciona ninguna alternativa: ahora mismo no hay ningún otro endpoint operativo del mismo `group` ni del mismo tipo.",
    ),
    ("started", "inicio"),
    ("detected", "detección"),
    ("closed", "cierre"),
    ("recovered", "recuperado"),
    ("confirmed", "confirmado"),
    ("duration", "duración"),
    ("acknowledged", "recibido"),
    ("probes", "sondeos"),
    ("faults", "fallos"),
    ("worst case", "peor caso"),
    ("total", "total"),
    ("total time", "tiempo total"),
    ("output rate", "velocidad"),
    ("The last slow probes", "Los últimos sondeos lentos"),
    ("The last failed probes", "Los últimos sondeos fallidos"),
    ("endpoint", "endpoint"),
    ("result", "resultado"),
    ("request ID", "ID de petición"),
    ("slow", "lento"),
    ("slow ", "lentos"),
    ("failing", "fallando"),
    ("failing intermittently", "fallando de forma intermitente"),
    ("The API said", "La API respondió"),
    ("Error", "Error"),
    (
        "This message is late: it was decided at {at} and could not be delivered for {late}.",
        "Este mensaje llega tarde: se decidió el {at} y no se ha podido entregar durante {late}.",
    ),
    (
        "You get this message because the channel `{channel}` could not deliver it.",
        "Recibe este mensaje porque el canal `{channel}` no ha podido entregarlo.",
    ),
    (
        "It is already over: it ended at {end}, before this message could be delivered.",
        "Ya ha terminado: acabó el {end}, antes de que se pudiera entregar este mensaje.",
    ),
    (
        "{by} acknowledged this incident at {at}{note}",
        "{by} ha confirmado la recepción de este incidente el {at}{note}",
    ),
    (
        "Correction: this is not the provider's fault.",
        "Corrección: no es fallo del proveedor.",
    ),
    (
        "It has become worse since the last message.",
        "Ha empeorado desde el último mensaje.",
    ),
    (
        "Its cause or extent has changed since the last message.",
        "Su causa o su alcance ha cambiado desde el último mensaje.",
    ),
    (
        "Reminder: this is still going on.",
        "Recordatorio: el problema continúa.",
    ),
    ("Somebody", "Alguien"),
    (
        "[RESOLVED after {lasted}] {name}: {who} {past}",
        "[RESOLVED tras {lasted}] {name}: {who} {past}",
    ),
    (", over after {lasted}", ", terminado tras {lasted}"),
    (", acknowledged by {by}", ", atendido por {by}"),
    (", acknowledged", ", atendido"),
    (", {name} healthy", ", {name} funciona"),
    (
        "failing ({cause}), suspected provider fault",
        "falla ({cause}), posible fallo del proveedor",
    ),
    (
        "failing ({cause}), suspected provider fault ",
        "fallan ({cause}), posible fallo del proveedor",
    ),
    (
        "failing intermittently ({cause})",
        "falla de forma intermitente ({cause})",
    ),
    (
        "failing intermittently ({cause}) ",
        "fallan de forma intermitente ({cause})",
    ),
    ("failing ({cause})", "falla ({cause})"),
    ("failing ({cause}) ", "fallan ({cause})"),
    (
        "now part of incident {number}",
        "ahora parte del incidente {number}",
    ),
    ("was failing ({cause})", "fallaba ({cause})"),
    ("were failing ({cause})", "fallaban ({cause})"),
    ("recovered (was: {cause})", "recuperado (causa: {cause})"),
    (" still", " todavía"),
    (" now", " ahora"),
    ("not usable", "no se puede usar"),
    (
        "removed from the configuration",
        "quitado de la configuración",
    ),
    (
        "still slow, now the baseline",
        "sigue lento, nueva línea base",
    ),
    ("was slow", "iba lento"),
    ("were slow", "iban lentos"),
    (
        "Somebody entered this address on the status page of {site}. To get a mail when something fails and when it has recovered, open the link and confirm. The link is valid for seven days.",
        "Alguien ha introducido esta dirección en la página de estado de {site}. Para recibir un correo cuando algo falle y cuando se haya recuperado, abra el enlace y confirme. El enlace es válido durante siete días.",
    ),
    (
        "If it was not you, ignore this mail: you will not be subscribed.",
        "Si no ha sido usted, ignore este correo: no quedará suscrito.",
    ),
    (
        "Confirm your subscription to {site}",
        "Confirme su suscripción a {site}",
    ),
    (
        "Since {since}: {title}. You will get a mail when it is over.",
        "Desde {since}: {title}. Recibirá un correo cuando haya terminado.",
    ),
    (
        "[RESOLVED after {lasted}] {names}",
        "[RESOLVED tras {lasted}] {names}",
    ),
    (
        "The incident is over: {names}. It lasted {lasted}, from {since} to {end}.",
        "El incidente ha terminado: {names}. Duró {lasted}, desde {since} hasta {end}.",
    ),
    (
        "You get this mail because you subscribed to {site}. Unsubscribe:",
        "Recibe este correo porque se suscribió a {site}. Cancelar la suscripción:",
    ),
    ("the last hour of", "la última hora de"),
    ("good", "correcto"),
    ("failed", "fallido"),
    ("not probed", "sin sondeo"),
    ("first token", "primer token"),
    ("availability in 24 h", "disponibilidad en 24 h"),
    (
        "the last hour, minute by minute (. good  ~ slow  x failed)",
        "la última hora, minuto a minuto (. correcto  ~ lento  x fallido)",
    ),
    ("Links and commands", "Enlaces y comandos"),
    ("Probably the provider.", "Probablemente del proveedor."),
    ("The provider.", "Del proveedor."),
    (
        "Your account or configuration: the provider answers, but rejects this key, quota, model or request. This does not count as provider downtime.",
        "De su cuenta o su configuración: el proveedor responde, pero rechaza esta clave, cuota, modelo o petición. No cuenta como caída del proveedor.",
    ),
    (
        "This machine: its network, resolver, clock or resources. This does not count as provider downtime.",
        "De esta máquina: su red, su DNS, su reloj o sus recursos. No cuenta como caída del proveedor.",
    ),
    (
        "tokens arrive much more slowly than usual",
        "los tokens llegan mucho más despacio de lo habitual",
    ),
    (
        "tokens arrived much more slowly than usual",
        "los tokens llegaban mucho más despacio de lo habitual",
    ),
    (
        "answers take much longer than usual to complete",
        "las respuestas tardan mucho más de lo habitual en completarse",
    ),
    (
        "answers took much longer than usual to complete",
        "las respuestas tardaban mucho más de lo habitual en completarse",
    ),
    (
        "the first token takes much longer than usual",
        "el primer token tarda mucho más de lo habitual",
    ),
    (
        "the first token took much longer than usual",
        "el primer token tardaba mucho más de lo habitual",
    ),
    (
        "The failure is on this machine, or no connectivity check answers from it.",
        "El fallo está en esta máquina, o ninguna comprobación de conectividad responde desde ella.",
    ),
    (
        "Its host name does not resolve, while other names do.",
        "Su nombre de host no se resuelve, mientras que otros sí.",
    ),
    (
        "The proxy does not reach it, while it reaches others.",
        "El proxy no llega hasta él, mientras que sí llega a otros.",
    ),
    (
        "The connection fails at its end, and nothing points to the network here.",
        "La conexión falla en su extremo y nada apunta a la red de aquí.",
    ),
    (
        "This machine cannot resolve host names",
        "Esta máquina no puede resolver nombres de host",
    ),
    (
        "This machine has no route to the network",
        "Esta máquina no tiene ruta a la red",
    ),
    (
        "This machine is out of resources",
        "Esta máquina se ha quedado sin recursos",
    ),
    (
        "This machine's clock is wrong",
        "El reloj de esta máquina no es correcto",
    ),
    (
        "This machine's proxy fails",
        "El proxy de esta máquina falla",
    ),
    (
        "This machine's network fails",
        "La red de esta máquina falla",
    ),
    (
        "Check whether the key was revoked, has expired or was replaced, and whether it belongs to this organization. Then change `api_key` and reload.",
        "Compruebe si la clave se ha revocado, ha caducado o se ha sustituido, y si pertenece a esta organización. Después cambie `api_key` y recargue.",
    ),
    (
        "Grant the key's project or role access to this model and API.",
        "Dé acceso a este modelo y a esta API al proyecto o rol de la clave.",
    ),
    (
        "Add credit or raise the spending limit. Retrying does not help.",
        "Añada saldo o suba el límite de gasto. Reintentar no sirve.",
    ),
    (
        "Something else uses up the limit, or it is too low for `interval`. Raise the limit or probe less often.",
        "Otra cosa consume el límite, o es demasiado bajo para `interval`. Suba el límite o sondee con menos frecuencia.",
    ),
    (
        "Probe from an address that the provider accepts, or have this one allowed.",
        "Sondee desde una dirección que el proveedor acepte, o solicite que permita esta.",
    ),
    (
        "Compare `model` (or `deployment`) with the provider's list of models and its retirement announcements. Then change it and reload.",
        "Compare `model` (o `deployment`) con la lista de modelos del proveedor y sus anuncios de retirada. Después cámbielo y recargue.",
    ),
    (
        "The provider's message names the parameter that it rejects: check `body`, `reasoning_effort` and `max_tokens` of the endpoint.",
        "El mensaje del proveedor indica el parámetro que rechaza: revise `body`, `reasoning_effort` y `max_tokens` del endpoint.",
    ),
    (
        "Raise `max_tokens` or lower `reasoning_effort`.",
        "Suba `max_tokens` o baje `reasoning_effort`.",
    ),
    (
        "Change `prompt` or the settings of the content filter.",
        "Cambie `prompt` o la configuración del filtro de contenido.",
    ),
    ("Change `prompt`.", "Cambie `prompt`."),
    (
        "Check the resolver (`/etc/resolv.conf`, `resolvectl status`).",
        "Revise el DNS (`/etc/resolv.conf`, `resolvectl status`).",
    ),
    (
        "Check the network interface, the routes and the firewall.",
        "Revise la interfaz de red, las rutas y el cortafuegos.",
    ),
    (
        "Raise the limits of the service (`LimitNOFILE`, memory) or lower `max_concurrent_probes`.",
        "Suba los límites del servicio (`LimitNOFILE`, memoria) o baje `max_concurrent_probes`.",
    ),
    (
        "Set the clock and keep it synchronized (`timedatectl`): certificates depend on it.",
        "Ponga el reloj en hora y manténgalo sincronizado (`timedatectl`): los certificados dependen de él.",
    ),
    (
        "Check `proxy` in `[monitor]`.",
        "Revise `proxy` en `[monitor]`.",
    ),
    ("connection refused", "conexión rechazada"),
    ("no connection in time", "sin conexión a tiempo"),
    ("connection reset", "conexión restablecida"),
    ("TLS handshake failed", "fallo en la negociación TLS"),
    ("invalid certificate", "certificado no válido"),
    (
        "no response headers in time",
        "sin cabeceras de respuesta a tiempo",
    ),
    ("no first token in time", "sin primer token a tiempo"),
    ("the stream stalled", "el flujo se detuvo"),
    ("total timeout", "tiempo total agotado"),
    ("server error", "error del servidor"),
    (
        "the edge cannot reach the API",
        "el frontal no llega a la API",
    ),
    ("redirected", "redirigido"),
    ("unexpected HTTP status", "estado HTTP inesperado"),
    ("provider at capacity", "proveedor sin capacidad"),
    ("error inside the stream", "error dentro del flujo"),
    ("stream ended early", "el flujo terminó antes de tiempo"),
    ("unreadable stream", "flujo ilegible"),
    ("empty answer", "respuesta vacía"),
    ("wrong answer", "respuesta incorrecta"),
    ("unreadable response body", "cuerpo de respuesta ilegible"),
    ("body too large", "cuerpo demasiado grande"),
    ("API key rejected", "clave de API rechazada"),
    ("not permitted", "sin permiso"),
    ("quota exhausted", "cuota agotada"),
    (
        "own rate limit reached",
        "límite de peticiones propio alcanzado",
    ),
    ("region or address blocked", "región o dirección bloqueada"),
    ("model not found", "modelo no encontrado"),
    ("request rejected", "petición rechazada"),
    (
        "token budget too small for this model",
        "presupuesto de tokens insuficiente para este modelo",
    ),
    ("answer filtered", "respuesta filtrada"),
    ("answer refused", "respuesta denegada"),
    ("host name not resolved", "nombre de host no resuelto"),
    ("network unreachable", "red inaccesible"),
    ("out of local resources", "sin recursos locales"),
    ("local clock wrong", "reloj local incorrecto"),
    ("proxy failed", "fallo del proxy"),
    (
        "TEST: this is only a test. Nothing is wrong, and everything below is made up.",
        "PRUEBA: esto es solo una prueba. No pasa nada, y todo lo que sigue es inventado.",
    ),
    (
        "TEST: this is only a test. Nothing is wrong.",
        "PRUEBA: esto es solo una prueba. No pasa nada.",
    ),
    (
        "DRILL: this is only a drill. Nothing is wrong.",
        "SIMULACRO: esto es solo un simulacro. No pasa nada.",
    ),
    (
        "nobody confirmed the drill of the channel `{channel}`",
        "nadie confirmó el simulacro del canal `{channel}`",
    ),
    (
        "This machine cannot resolve host names, so no provider can be reached and every status is unknown until that is fixed. You will be notified when it is.",
        "Esta máquina no puede resolver nombres de host, por lo que no se llega a ningún proveedor y todos los estados son desconocidos hasta que se arregle. Se le avisará entonces.",
    ),
    (
        "Neither the providers nor the connectivity checks answer from this machine, so every status is unknown until its network is back. You will be notified when it is.",
        "Ni los proveedores ni las comprobaciones de conectividad responden desde esta máquina, por lo que todos los estados son desconocidos hasta que vuelva su red. Se le avisará entonces.",
    ),
    (
        "Network is back. The gap is recorded as unknown, not as downtime.",
        "La red ha vuelto. El intervalo se registra como desconocido, no como caída.",
    ),
    ("Probing has resumed.", "Se han reanudado los sondeos."),
    (
        "Buffered records were written; records that exceeded the buffer were dropped.",
        "Se han escrito los registros en espera; los que no cabían en el búfer se han perdido.",
    ),
    (
        "Nothing is probed until midnight, and every status is unknown until then. `[heartbeat]` is silent, so a dead man's switch will fire. `llmwatch check` shows what probing costs.",
        "No se sondea nada hasta medianoche, y hasta entonces todos los estados son desconocidos. `[heartbeat]` no envía nada, así que saltará la alarma externa. `llmwatch check` muestra lo que cuestan los sondeos.",
    ),
    (
        "Probing, detection and notifications continue from memory. Everything is written once the database is writable again. Free up disk space; do not restart the daemon, which would lose the buffered records.",
        "Los sondeos, la detección y las notificaciones continúan en memoria. Todo se escribirá cuando la base de datos vuelva a aceptar escrituras. Libere espacio en disco; no reinicie el servicio, porque se perderían los registros en espera.",
    ),
    (
        "Pending notifications were delivered, oldest first, and marked as late. Dead notifications are kept: `llmwatch outbox` lists and retries them.",
        "Las notificaciones pendientes se han entregado, de la más antigua a la más reciente, y marcadas como tardías. Las descartadas se conservan: `llmwatch outbox` las muestra y las reintenta.",
    ),
    (
        "The other recipients got it. The rejected address is not retried: correct `to`, or ask the owner of that mailbox. This is reported once a day.",
        "Los demás destinatarios lo han recibido. No se reintenta la dirección rechazada: corrija `to` o pregunte al dueño de ese buzón. Se informa una vez al día.",
    ),
    (
        "Undelivered notifications are kept and retried. `llmwatch outbox` lists pending and dead notifications, and retries them.",
        "Las notificaciones no entregadas se conservan y se reintentan. `llmwatch outbox` muestra las pendientes y las descartadas, y las reintenta.",
    ),
    (
        "Many incidents at once; this message covers them all. You will be notified when each one ends.",
        "Muchos incidentes a la vez; este mensaje los reúne todos. Se le avisará cuando termine cada uno.",
    ),
    (
        "Nothing has failed yet. This is an early warning; each one is sent once.",
        "Todavía no ha fallado nada. Es un aviso temprano; cada uno se envía una sola vez.",
    ),
    (
        "This is only a test; nothing is wrong. The channel works.",
        "Es solo una prueba; no pasa nada. El canal funciona.",
    ),
    ("{names} is slow as well", "{names} también va lento"),
    ("{names} are slow as well", "{names} también van lentos"),
    ("{names} fails as well", "{names} también falla"),
    ("{names} fail as well", "{names} también fallan"),
    (
        "{names} is still slow: {cause}",
        "{names} sigue lento: {cause}",
    ),
    (
        "{names} are still slow: {cause}",
        "{names} siguen lentos: {cause}",
    ),
    (
        "{names} still fails: {cause}",
        "{names} sigue fallando: {cause}",
    ),
    (
        "{names} still fail: {cause}",
        "{names} siguen fallando: {cause}",
    ),
    (
        "the cause is now {cause}, it was {was}",
        "la causa es ahora {cause}, antes era {was}",
    ),
    (
        "it is now {now}, it was {was}",
        "ahora es {now}, antes era {was}",
    ),
    ("{names} fails because of it", "{names} falla por ello"),
    ("{names} fail because of it", "{names} fallan por ello"),
    (
        "the provider published \"{theirs}\"",
        "el proveedor ha publicado \"{theirs}\"",
    ),
    ("note: {note}", "nota: {note}"),
    (" {names} has recovered.", " {names} se ha recuperado."),
    (" {names} have recovered.", " {names} se han recuperado."),
    (
        " The provider answers again, but rejects the account: incident {number}.",
        " El proveedor vuelve a responder, pero rechaza la cuenta: incidente {number}.",
    ),
    (
        "If it is not the provider: {remedy}",
        "Si no es el proveedor: {remedy}",
    ),
    (
        "A key that worked before is rejected, and so is the key of another organization at {other}, at the same time.",
        "Se rechaza una clave que funcionaba y, al mismo tiempo, la de otra organización en {other}.",
    ),
    (
        "The provider's own status page confirms it: \"{title}\".",
        "La propia página de estado del proveedor lo reconoce: \"{title}\".",
    ),
    (
        "The provider's own headers refute it: {left} or more of every limit that they name is left.",
        "Las propias cabeceras del proveedor lo desmienten: queda el {left} o más de cada límite que indican.",
    ),
    (
        "it is now attributed to the provider",
        "ahora se atribuye al proveedor",
    ),
    (
        "it is now attributed to your account",
        "ahora se atribuye a su cuenta",
    ),
    (
        "it is now attributed to this machine",
        "ahora se atribuye a esta máquina",
    ),
    (
        "A key and a configuration that worked before are now rejected.",
        "Ahora se rechazan una clave y una configuración que funcionaban.",
    ),
    (
        "Since the last message: {changes}.",
        "Desde el último mensaje: {changes}.",
    ),
    ("{done}. Also: {changes}.", "{done}. Además: {changes}."),
    (
        "No host name resolves on this machine. If IP addresses answer (`ping`), only the resolver is broken: check `/etc/resolv.conf` and `resolvectl status`.",
        "En esta máquina no se resuelve ningún nombre de host. Si las direcciones IP responden (`ping`), solo falla el DNS: revise `/etc/resolv.conf` y `resolvectl status`.",
    ),
    ("Skip to the content", "Saltar al contenido"),
    ("Status", "Estado"),
    ("Incidents", "Incidentes"),
    ("Feed", "Feed"),
    ("Subscribe", "Suscribirse"),
    ("Updated", "Actualizado"),
    ("Current problems", "Problemas actuales"),
    ("Endpoints", "Endpoints"),
    ("not yet", "aún no"),
    ("last probe", "último sondeo"),
    ("Filter endpoints by name", "Filtrar endpoints por nombre"),
    ("Filter by name", "Filtrar por nombre"),
    ("Only problems", "Solo problemas"),
    ("Endpoint", "Endpoint"),
    ("today", "hoy"),
    ("90 days", "90 días"),
    ("24 hours", "24 horas"),
    ("Advice", "Avisos"),
    ("Recently resolved", "Resueltos recientemente"),
    (
        "No incident has been resolved yet.",
        "Aún no se ha resuelto ningún incidente.",
    ),
    ("All incidents", "Todos los incidentes"),
    ("Probing cost today", "Coste de los sondeos hoy"),
    ("99.9% or more", "99,9 % o más"),
    ("99 to 99.9%, or 10% slow", "de 99 a 99,9 %, o 10 % lentos"),
    ("95 to 99%", "de 95 a 99 %"),
    ("below 95%", "menos del 95 %"),
    ("no data", "sin datos"),
    (
        "One bar a day (UTC). Faults of your account and of this machine do not count.",
        "Una barra por día (UTC). Los fallos de su cuenta y de esta máquina no cuentan.",
    ),
    (
        "No incident has been recorded.",
        "No se ha registrado ningún incidente.",
    ),
    ("Newest", "Más recientes"),
    ("Older", "Anteriores"),
    ("Resolved", "Resuelto"),
    ("Ongoing", "En curso:"),
    ("Timeline", "Cronología"),
    ("Figures", "Datos"),
    ("Faults", "Fallos"),
    (
        "First and last failed probes",
        "Primeros y últimos sondeos fallidos",
    ),
    ("resolved", "resuelto"),
    ("Time", "Hora"),
    ("Fault", "Fallo"),
    ("Request id", "ID de petición"),
    ("Error message", "Mensaje de error"),
    ("Subscribe by mail", "Suscribirse por correo"),
    (
        "You get a mail when something fails and when it has recovered. First you get a mail with a link that confirms the address.",
        "Recibirá un correo cuando algo falle y otro cuando se haya recuperado. Antes recibirá un correo con un enlace para confirmar la dirección.",
    ),
    ("Email address", "Dirección de correo"),
    ("Back to the status page", "Volver a la página de estado"),
    (
        "{title}: incidents seen at {location}",
        "{title}: incidentes vistos en {location}",
    ),
];
