"""The words of opting out and in again, by language, as data for `intent`: normalised, so without accents or marks.

`CERTAIN`, `LIKELY` and `RESUME` are whole messages. `SENTENCES` are patterns for what people ask in many ways. A few of
`LEADS` (“could you ...”) may stand before them, and any of `TAILS` behind: words that go with messages and lists only.
`WITHIN` are parts that mean it wherever they stand in a longer message.
"""

# fmt: off

from collections.abc import Mapping
from typing import Final

# Words that chats shorten or spell differently: the full word, and its spellings.
SPELLINGS: Final[Mapping[str, str]] = {
    "nao": "n nn naum",
    "que": "q k qe ke",
    "voce": "vc vcs voces ce ces",
    "mensagem": "msg msgs mensagens mensage menssagem menssagens mensagen",
    "mensaje": "mensajes",
    "message": "messages texts text txt txts",
    "quero": "qro kero",
    "quiero": "kiero",
    "promocao": "promocoes propaganda propagandas anuncio anuncios ofertas",
    "promocion": "promociones publicidad",
    "promotion": "promotions promos promo ads advertising marketing offers",
    "do not": "dont dnt",
    "no longer": "nolonger",
    "you": "u",
    "unsubscribe": "unsub unsuscribe unsubcribe",
}

# Words at the ends of a message that add nothing but manners, and those that add haste.
MANNERS: Final = (
    "por favor", "por gentileza", "pfv", "pfvr", "pf", "porfavor", "favor", "obrigado", "obrigada", "muito obrigado",
    "muito obrigada", "obg", "grato", "grata", "bom dia", "boa tarde", "boa noite", "oi", "ola", "desculpe", "desculpa",
    "valeu", "porfa", "porfis", "gracias", "muchas gracias", "hola", "buenos dias", "buen dia", "buenas tardes",
    "buenas noches", "buenas", "disculpe", "disculpa", "please", "pls", "plz", "kindly", "thanks", "thank you", "thx",
    "ty", "hi", "hello", "hey", "sorry", "good morning", "good afternoon", "good evening",
)
HURRY: Final = (
    "agora", "ja", "imediatamente", "urgente", "ahora", "ya", "ahora mismo", "inmediatamente", "now", "right now",
    "immediately", "asap", "at once",
)

NEGATIONS: Final = (
    "nao", "no", "not", "nunca", "never", "jamais", "jamas", "nem", "ni", "sem", "without", "sin", "cannot",
)
QUESTIONS: Final = ("porque", "por", "why", "quando", "cuando", "when", "se", "si", "if", "unless")

CERTAIN: Final[Mapping[str, tuple[str, ...]]] = {
    "pt": (
        "stop", "stop all", "optout", "opt out", "unsubscribe", "cancelar", "parar", "remover", "sair", "pare", "parem",
        "descadastrar", "descadastre", "descadastra", "descadastro", "remova", "excluir", "exclua", "desinscrever",
        "desinscreva", "cancelar inscricao", "cancelar recebimento", "parar mensagem", "parar promocao",
        "interromper promocao", "sair da lista", "nao receber", "nao receber mais", "parar de receber",
        "deixar de receber", "quero sair", "quero parar", "quero me descadastrar", "me descadastre", "me descadastra",
        "me remova", "me exclua",
    ),
    "es": (
        "stop", "stop all", "optout", "opt out", "unsubscribe", "cancelar", "parar", "remover", "baja", "darme de baja",
        "dar de baja", "salir", "borrarme", "eliminarme", "eliminar", "desuscribir", "desuscribirme", "desuscribirse",
        "cancelar suscripcion", "detener promocion", "detener mensaje", "parar mensaje", "no recibir", "quiero salir",
        "no recibir mas", "dejar de recibir", "detener", "alto", "parar promocion", "quiero darme de baja",
    ),
    "en": (
        "stop", "stop all", "stopall", "optout", "opt out", "unsubscribe", "end", "quit", "exit", "remove", "remove me",
        "cancel", "stop message", "stop promotion", "stop messaging", "stop it", "stop this", "opt me out",
        "unsubscribe me", "unsubscribe all", "stop texting", "no more message", "delete me", "stop stop",
        "stop stop stop",
    ),
}

LIKELY: Final[Mapping[str, tuple[str, ...]]] = {
    "pt": (
        "para", "chega", "basta", "cancela", "cancele", "quero cancelar", "nao quero mais", "bloquear", "bloqueado",
        "denunciar", "nao me interessa", "nao tenho interesse", "sem interesse", "nao tenho mais interesse",
        "numero errado", "engano", "foi engano", "nao sou essa pessoa", "para com isso", "pare com isso", "spam",
        "me deixa em paz", "me deixe em paz", "vou bloquear", "vou denunciar", "nao autorizei", "me esquece", "fora",
        "para de encher", "para de encher o saco", "cancelar assinatura", "cancelar envio", "cancelar cadastro",
        "isso e spam", "nao me ligue", "nao me ligue mais", "nao estou interessado", "nao estou interessada", "me tira",
        "como saio da lista", "como faco para sair", "como cancelo", "nao quero mais nada", "sai fora", "fora daqui",
        "para de me ligar", "pare de me ligar", "parem de me ligar", "chega de mensagem",
    ),
    "es": (
        "basta", "cancela", "cancele", "quiero cancelar", "no quiero mas", "ya no quiero", "bloquear", "denunciar",
        "no me interesa", "no estoy interesado", "no estoy interesada", "numero equivocado", "spam", "fuera",
        "se equivoco de numero", "dejame en paz", "dejenme en paz", "voy a bloquear", "voy a denunciar", "no molestar",
        "no moleste", "no molesten", "para", "paren", "pare", "sin interes", "cancelar cuenta", "no me llamen",
        "no me llamen mas", "no quiero nada mas", "dejen de llamarme",
        "esto es spam", "como me doy de baja", "como cancelo", "como salgo de la lista",
    ),
    "en": (
        "enough", "not interested", "no interest", "wrong number", "leave me alone", "go away", "block", "spam",
        "i will block you", "i will report you", "reported", "who gave you my number", "do not contact",
        "i want to cancel", "no longer interested", "not interested anymore", "cancel subscription", "do not call me",
        "you have the wrong number", "this is spam", "i am not interested", "im not interested", "do not call",
        "i do not want it", "i do not want this", "i do not want any",
    ),
}

RESUME: Final[Mapping[str, tuple[str, ...]]] = {
    "pt": (
        "start", "unstop", "optin", "opt in", "voltar a receber", "quero voltar a receber", "quero receber de novo",
        "quero receber novamente", "quero voltar a receber mensagem", "quero voltar a receber as mensagem",
        "quero receber mensagem", "quero receber mensagem de novo", "quero receber mensagem novamente",
        "quero receber as mensagem de novo", "pode voltar a mandar", "pode voltar a mandar mensagem",
        "podem voltar a mandar mensagem", "podem voltar a enviar", "quero voltar para a lista", "reativar",
        "me coloca de volta na lista", "me coloque de volta na lista", "reinscrever", "inscrever", "inscrever me",
        "quero me inscrever", "quero me inscrever de novo", "retomar", "retomar mensagem", "quero receber promocao",
        "pode me mandar mensagem de novo", "quero receber novidades de novo",
    ),
    "es": (
        "start", "unstop", "optin", "opt in", "alta", "darme de alta", "suscribir", "suscribirme",
        "quiero suscribirme", "volver a recibir", "quiero volver a recibir", "quiero volver a recibir mensaje",
        "quiero recibir mensaje", "quiero recibir mensaje de nuevo", "quiero recibir de nuevo", "reanudar", "reactivar",
        "quiero recibir promocion", "pueden volver a escribirme", "puede volver a escribirme", "quiero darme de alta",
        "quiero suscribirme de nuevo",
    ),
    "en": (
        "start", "unstop", "optin", "opt in", "subscribe", "resubscribe", "subscribe me", "subscribe me again",
        "start again", "restart", "resume", "resume message", "opt me in", "opt me back in",
        "i want to receive message", "i want to receive message again", "sign me up again", "message me again",
        "you can message me again", "add me back", "put me back on the list", "add me back to the list",
        "start message", "start messaging me again",
    ),
}

# Ways to ask for it.
LEADS: Final[Mapping[str, tuple[str, ...]]] = {
    "pt": (
        "eu", "so", "entao", "e", "quero", "queria", "quero que", "quero que voce", "gostaria", "gostaria de",
        "gostaria que", "gostaria que voce", "preciso", "desejo", "solicito", "peco", "peco que", "pode", "podem",
        "poderia", "poderiam", "voce pode", "voce podem", "voce poderia", "voce poderiam", "da pra", "da para",
        "tem como", "ser", "ja falei", "ja disse", "por favor",
    ),
    "es": (
        "yo", "ya", "solo", "entonces", "y", "quiero", "quiero que", "quisiera", "quisiera que", "necesito", "deseo",
        "solicito", "pido", "pido que", "me gustaria", "puede", "pueden", "podria", "podrian", "me pueden", "me puede",
        "me podrian", "ser", "ya les dije que", "por favor",
    ),
    "en": (
        "i", "just", "so", "and", "can you", "could you", "would you", "will you", "i want", "i want to",
        "i want you to", "i would like to", "i would like you to", "id like to", "i need", "i need to", "i wish to",
        "i ask you to",
        "you must", "you need to", "be", "get", "to", "please", "asked you to", "i said",
    ),
}

_OFF_PT = (
    "(?:tira|tire|tirem|tirar|remove|remova|removam|remover|exclui|exclua|excluam|excluir|retira|retire|retirem"
    "|retirar|descadastra|descadastre|descadastrem|descadastrar|apaga|apague|apaguem|apagar|deleta|delete|deletem|deletar)"
)
_FROM_PT = "(?:da|dessa|desta|de|do|desse|deste|das|dos|daqui|dai)"
_SEND_PT = (
    "(?:mandar|mandando|enviar|enviando|encaminhar|escrever|escrevendo|perturbar|incomodar|importunar|chamar"
    "|contatar|contactar)"
)
_ABOUT_PT = "(?:mensagem|promocao|notificacao|notificacoes|contato|contatos|publicidade|nada)"
_THE_PT = "(?:(?:as|os|a|o|essas|esses|estas|estes|suas|seus|nenhuma|nenhum|mais|de|tantas?) ){0,3}"
_DO_NOT_SEND_PT = (
    "(?:mande|manda|mandem|mandar|mandarem|envie|envia|enviem|enviar|enviarem|escreva|escrevam|chame|chamem|contate"
    "|contatem|contacte|contactem|perturbe|perturbem|incomode|incomodem)"
)

_OFF_ES = (
    "(?:saca|saque|saquen|quita|quite|quiten|borra|borre|borren|elimina|elimine|eliminen|remueva|remuevan|sacar|quitar"
    "|borrar|eliminar|remover)"
)
_FROM_ES = "(?:de|del|desde)"
_SEND_ES = (
    "(?:mandar|mandarme|mandarnos|enviar|enviarme|enviarnos|escribir|escribirme|escribirnos|molestar|molestarme"
    "|contactar|contactarme)"
)
_DO_NOT_SEND_ES = (
    "(?:escriban|escriba|escribas|escriben|manden|mande|mandes|envien|envie|envies|molesten|moleste|molestes|contacten"
    "|contacte|contactes)"
)
_ABOUT_ES = "(?:mensaje|promocion|notificaciones|avisos|correos|informacion|nada)"
_THE_ES = "(?:(?:los|las|sus|estos|estas|esos|esas|ningun|ninguna|mas|de|tantos?|tantas?) ){0,3}"

_SEND_EN = (
    "(?:send(?:ing)?|messag(?:e|ing)|texting|contact(?:ing)?|spam(?:ming)?|writ(?:e|ing)|bother(?:ing)?"
    "|email(?:ing)?)"
)
_ABOUT_EN = "(?:message|promotion|notifications|spam|updates|newsletters?)"
_THE_EN = "(?:(?:the|these|those|your|any|all|more|of|such|further) ){0,3}"

SENTENCES: Final[Mapping[str, tuple[str, ...]]] = {
    "pt": (
        "nao (?:quero|queremos|desejo|gostaria de|vou querer|pretendo|aceito|autorizo|tenho interesse em)(?: mais)?"
        " receber",
        f"nao (?:quero|queremos|desejo|aceito|autorizo|preciso de)(?: mais)? {_THE_PT}{_ABOUT_PT}(?<!nada)",
        f"nao (?:quero|desejo) que (?:voce )?(?:me )?{_DO_NOT_SEND_PT}",
        f"me {_OFF_PT} {_FROM_PT}",
        f"{_OFF_PT} (?:me|(?:o )?meu (?:numero|contato|telefone|nome)|meus dados|es[ts]e numero)",
        f"(?:me )?(?:sair|descadastrar|desinscrever|retirar) {_FROM_PT}",
        "me (?:descadastrar|desinscrever)",
        f"(?:removid|retirad|excluid|descadastrad)[oa] {_FROM_PT}",
        f"sai[ro] {_FROM_PT}",
        "cancelar? (?:o |a |meu |minha )?(?:recebimento|inscricao)",
        f"(?:para|pare|parem|parar|chega|deixa|deixe|deixem|deixar) de (?:(?:me|nos|ficar) ){{0,2}}{_SEND_PT}(?: me)?",
        "(?:para|pare|parem|parar|deixar) de receber",
        f"(?:pare|parem|parar) (?:com )?{_THE_PT}(?:mensagem|promocao|spam)",
        f"(?:nao|nunca)(?: mais)? (?:me|nos) {_DO_NOT_SEND_PT}",
        f"(?:nao|nunca) {_DO_NOT_SEND_PT}(?: me)?(?: mais| nunca mais)",
        f"(?:nao|nunca) {_DO_NOT_SEND_PT}(?: me)? {_THE_PT}{_ABOUT_PT}",
    ),
    "es": (
        "no (?:quiero|queremos|deseo|quisiera|me gustaria|autorizo|acepto)(?: mas)? recibir",
        f"no (?:quiero|queremos|deseo|autorizo|acepto)(?: mas)? {_THE_ES}{_ABOUT_ES}(?<!nada)",
        f"no (?:quiero|deseo) que (?:me )?{_DO_NOT_SEND_ES}",
        f"me {_OFF_ES} {_FROM_ES}",
        f"{_OFF_ES}(?:me)? {_FROM_ES}(?= (?:la|su|sus|esta|este|tu|todas) | lista)",
        f"{_OFF_ES}me",
        f"{_OFF_ES} (?:mi numero|mi contacto|mis datos|este numero)",
        f"(?:salir|salirme|desuscribirme) {_FROM_ES}",
        "(?:darme|darse|dar|denme|deme|dame|me den|me dan|me de|me da|me doy|me dar) de baja",
        f"baja {_FROM_ES}",
        "(?:cancelar|cancelen|cancele) (?:mi |la )?(?:suscripcion|inscripcion)",
        f"(?:deja|deje|dejen|dejar|para|pare|paren|parar) de {_SEND_ES}",
        "(?:dejar|parar) de recibir",
        f"(?:no|nunca)(?: mas)? (?:me|nos) {_DO_NOT_SEND_ES}",
        f"(?:no|nunca) {_DO_NOT_SEND_ES}(?: me)? (?:mas|nunca mas)",
        f"(?:no|nunca) {_DO_NOT_SEND_ES} {_THE_ES}{_ABOUT_ES}",
    ),
    "en": (
        "(?:remove|delete|take|drop|unsubscribe) (?:me|us|my number|my contact|this number)",
        "(?:unsubscribe|opt out)(?: me)?(?: from| of)",
        "(?:unsubscribe|opt out)",
        "(?:removed|unsubscribed|taken off|opted out) ?",
        f"(?:stop|quit|cease) {_SEND_EN}(?= (?:me|us|anything|these|this|to|your|any))",
        f"(?:stop|quit|cease) (?:sending )?{_THE_EN}{_ABOUT_EN}",
        f"(?:do not|never|no longer) (?:ever )?{_SEND_EN} (?:me|us|to)(?!$| (?:the|a)\\b)",
        "(?:do not|never) (?:ever )?(?:message|contact|text|write|bother|spam|email) (?:me|us|this number)",
        f"(?:do not|never|no longer) (?:ever )?send (?:me |us )?{_THE_EN}(?:message|promotion|spam|anything)",
        "(?:do not|no longer|never) (?:want|wish|agree|consent) to (?:receive|get|hear|be contacted|be messaged)",
        f"(?:do not|no longer) (?:want|wish|need) {_THE_EN}{_ABOUT_EN}",
        f"no more (?:of )?{_THE_EN}{_ABOUT_EN}",
    ),
}

# Words that go with messages and lists.
TAILS: Final[Mapping[str, str]] = {
    "pt": (
        "mais nada isso nenhuma nenhum as os essas esses estas estes suas seus essa esta esse este sua seu a o de da do"
        " das dos dessa desta desse deste daqui dai por aqui mensagem promocao contato contatos aviso avisos"
        " notificacao notificacoes e ou voce whatsapp zap novidades publicidade campanha campanhas tipo no na meu minha"
        " celular telefone numero empresa loja lista listas grupo cadastro base dados mailing sistema agenda envio"
        " envios transmissao banco me pra mim para qualquer todas todos nunca jamais spam conteudo nem comercial favor"
    ),
    "es": (
        "mas nada esto eso ningun ninguna los las la el sus su estos estas esta este esos esas ese tu de del mensaje"
        " promocion correos avisos notificaciones informacion contacto contactos ustedes usted y o tipo por whatsapp"
        " aqui empresa tienda lista listas base datos grupo registro sistema agenda difusion envio mi numero celular"
        " telefono me a para jamas nunca todas todos spam ni favor"
    ),
    "en": (
        "me us this these those any more message promotion anything to your my the number phone from you again anymore"
        " stuff spam with all of off here on at whatsapp kind please company it them such list lists mailing contact"
        " contacts database system group ever out that and or for updates in future further be contacted by receive"
    ),
}

WITHIN: Final[Mapping[str, tuple[str, ...]]] = {
    "pt": (
        "nao (?:quero|desejo|gostaria de)(?: mais)? receber (?:mais )?(?:nada|isso)",
        "nao (?:quero|desejo|gostaria de)(?: mais)? receber (?:mais )?(?:essas |suas |as )?(?:mensagem|promocao)",
        f"(?:me {_OFF_PT}|{_OFF_PT} (?:me|meu numero|meu contato)|(?:sair|saio|descadastrar))"
        " (?:da|dessa|desta|do|de)(?: sua| seu)? (?:lista|cadastro|base|grupo|contatos)",
        "(?:para|pare|parem) de (?:me |ficar )?(?:me )?(?:mandar|mandando|enviar)(?: me)? (?:essas |mais |tanta )?"
        "(?:mensagem|promocao)",
        "nao me (?:mande|mandem|mandar|mandarem|envie|enviem|enviar|enviarem)(?: mais)?"
        " (?:mais|nada|mensagem|promocao)",
        "como (?:faco|posso|eu faco)(?: para| pra)? (?:me )?"
        "(?:descadastrar|parar de receber|cancelar (?:as |essas )?mensagem)",
    ),
    "es": (
        "no (?:quiero|deseo)(?: mas)? recibir (?:mas )?(?:nada|(?:sus |estos )?(?:mensaje|promocion))",
        f"(?:me {_OFF_ES}|{_OFF_ES}me|salir|salgo|darme de baja) (?:de|del)(?: la| su| esta)?"
        " (?:lista|base|grupo|registro)",
        "no me (?:escriban|escriba|manden|mande|envien|envie)(?: mas)? (?:mas|nada|mensaje|promocion)",
        "(?:deja|deje|dejen|paren) de (?:mandarme|enviarme|escribirme|mandar|enviar) (?:mensaje|promocion)",
        "como (?:hago para|puedo) (?:darme de baja|dejar de recibir)",
    ),
    "en": (
        "(?:remove|take|delete) (?:me|my number) (?:from|off)(?: of)?(?: the| your| this)?"
        " (?:list|mailing list|contacts|database|contact list)",
        "(?:stop|quit) (?:sending|messaging|texting|contacting|spamming) (?:me|us)",
        "do not (?:message|contact|write to) (?:me|us)",
        "(?:do not|no longer) (?:want|wish) to (?:receive|get) (?:any |more |your |these ){0,2}(?:message|promotion)",
        "(?:how (?:do|can) i|want to|would like to|wish to) (?:unsubscribe|opt out)",
        "unsubscribe me",
    ),
}

PAYLOADS: Final = frozenset(
    {
        "stop", "stopall", "unsubscribe", "optout", "opt out", "descadastrar", "sair", "baja", "parar",
        "cancelar inscricao", "stop promotions", "darse baja", "darme de", "remover",
    }
)

CONFIRMATIONS: Final[Mapping[str, str]] = {
    "pt": "Pronto: você não receberá mais nossas mensagens. Se mudar de ideia, responda VOLTAR A RECEBER.",
    "es": "Listo: ya no recibirás nuestros mensajes. Si cambias de opinión, responde ALTA.",
    "en": "Done: you will not receive our messages any more. If you change your mind, reply START.",
}

# The language of a country code where most people share one of ours.
LANGUAGE_OF: Final[Mapping[str, str]] = {
    **dict.fromkeys(("55", "351", "244", "258", "238"), "pt"),
    **dict.fromkeys(("34", "51", "52", "53", "54", "56", "57", "58"), "es"),
    **dict.fromkeys(("502", "503", "504", "505", "506", "507", "591", "593", "595", "598"), "es"),
}
