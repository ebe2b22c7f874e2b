"""What replies mean: a table of what people write in three languages, with what only looks like it."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from campaign_engine.rules.opt_out.intent import Intent, Reading, normalised, read, read_button

CERTAIN = """
pt  Sair
pt  SAIR!!!
pt  sair por favor
pt  PARE
pt  parem, por favor
pt  Quero sair
pt  saaaair
pt  ✋ Sair 🙏
pt  "sair"
pt  Descadastrar
pt  Descadastre-me
pt  Me descadastra por gentileza
pt  excluir
pt  Cancelar inscrição
pt  não quero mais receber nada
pt  Não quero receber mensagens
pt  n quero mais receber msg
pt  nao quero mais receber mensagens de vcs
pt  Eu não quero mais receber essas promoções no meu whatsapp
pt  não desejo receber mais mensagens, obrigada
pt  Bom dia, não gostaria de receber mais propagandas
pt  não quero mais mensagens
pt  Não tenho interesse em receber promoções
pt  me tira da lista
pt  Me tire dessa lista por favor!!
pt  por favor me remova da sua lista de contatos
pt  tira meu número daí
pt  Remova meu número da base de dados de vocês
pt  vocês podem me tirar dessa lista?
pt  quero sair da lista
pt  Gostaria de sair do grupo de transmissão
pt  para de me mandar mensagem
pt  Para de ficar me mandando mensagem
pt  PAREM DE ME ENVIAR PROPAGANDA
pt  pare de mandar msg
pt  quero parar de receber mensagens
pt  parar de receber
pt  não me mande mais mensagens
pt  nao me mandem mais nada
pt  Não envie mais
pt  não me envie mais promoções por favor
pt  Quero que vocês parem de me mandar mensagem
pt  Não me perturbe mais
pt  não quero que me mandem mais mensagem
pt  Pare agora
pt  Sair já
pt  quero cancelar o recebimento
pt  Parem com essas mensagens
pt  apaguem meus dados
pt  pare! não quero mais
pt  Parar promoções
pt  nunca mais me mandem mensagem
es  Baja
es  ¡BAJA!
es  darme de baja
es  Quiero darme de baja por favor
es  me den de baja
es  dame de baja de la lista
es  Salir
es  no me escriban más
es  No me manden más mensajes
es  no quiero recibir más mensajes
es  Ya no quiero recibir nada
es  No deseo recibir publicidad, gracias
es  no quiero más mensajes
es  bórrenme de su lista
es  Sáquenme de la lista
es  Por favor elimíneme de su base de datos
es  dejen de escribirme
es  deja de mandarme mensajes
es  Hola, quiero salir de la lista
es  cancelar suscripción
es  no me molesten más
es  Pueden borrarme de la lista?
es  quiero dejar de recibir mensajes
es  borren mi número
es  Detener promociones
es  no quiero que me escriban
es  Desuscribirme
en  Unsubscribe me
en  Stop promotions
en  please remove me from your list
en  Remove me
en  take me off your list please
en  Can you remove my number from this list?
en  stop texting me
en  STOP MESSAGING ME NOW
en  please stop sending me messages
en  Stop sending these
en  don't message me again
en  Do not contact me anymore
en  never text me again
en  I don't want to receive messages anymore
en  I no longer wish to receive promotions from you
en  i dont want any more messages
en  no more messages please
en  I want to unsubscribe
en  I would like to opt out
en  unsubscribe from this list
en  opt me out
en  quit
en  stop stop
en  END
en  don't send me any more messages
en  delete my number
-   STOP
-   stop.
-   Stop please
-   S T O P
-   STOPPP
-   unsubscribe
-   unsuscribe
-   opt-out
-   OPT OUT
-   Cancelar
-   PARAR
-   remover
-   ＳＴＯＰ
"""

LIKELY = """
Chega
basta!
Não quero mais
não tenho interesse
Sem interesse, obrigado
no me interesa
Not interested
número errado
wrong number
numero equivocado
me deixa em paz
leave me alone
vou denunciar
spam
spam!!!
Cancelar?
stop?
quero cancelar
como faço para sair da lista?
How do I unsubscribe?
¿Cómo puedo darme de baja?
Quem são vocês? me tira da lista
Bom dia! Já comprei ontem. Não me mandem mais mensagens
oi eu sou o joao da padaria e queria pedir pra vcs nao me mandarem mais mensagem
Recibí el pedido, gracias. Por favor no me escriban más
I already bought one last week, please stop texting me
I got the shoes but do not want to receive any more messages about them
gostei muito do atendimento mas não quero receber mais nada
leave me alone. who is this?
para
no me llamen más
não me ligue
parem de me ligar
não quero mais nada
no quiero nada más
não quero receber por aqui, manda por e-mail
"""

RESUME = """
START
start again
Unstop
subscribe me again
Quero voltar a receber
quero receber mensagens de novo
Voltar a receber!
podem voltar a mandar mensagem
Alta
quiero volver a recibir mensajes
suscribirme
opt me back in
"""

NONE = """
tem como parar a dor?
como parar de roncar?
não quero sair da lista
nao quero parar de receber
não me tira da lista
não parem de me mandar mensagens
nunca parem de mandar promoção
don't stop
please don't stop sending me messages
do not remove me from your list
don't unsubscribe me
I never want to unsubscribe
no me saquen de la lista
no quiero salir de la lista
no dejen de escribirme
nunca me borren de su lista
por que você não me manda mais mensagens?
porque vocês não me mandam mais promoções
why don't you message me anymore?
quero parar de fumar
para quando é a entrega?
para de chover aí?
posso sair mais cedo?
vou sair agora, te ligo depois
sair para jantar
quero cancelar meu pedido 1234
cancelar a compra do tênis
Preciso remover uma mancha do sofá
como remover tinta da parede?
o preço teve baixa?
¿cuándo baja el precio?
la baja de precios es hasta el lunes
la alta costura me gusta
salir a cenar
quitar
quero quitar minha dívida
quiero quitar la mancha
stop by the store tomorrow
nonstop flight
the bus stop is near
I can't stop loving it
when does the promotion end?
the end of the month
cancel my order please
I want to remove one item from my cart
excluir um item do carrinho
não
nao
no
sim
yes
não obrigado
no, gracias
no thanks
não quero
não preciso
Não recebi o pedido
não quero receber o pedido hoje
não quero mais esse produto, quero trocar
no quiero el azul, quiero el rojo
I don't want the blue one
não me mande agora, estou em reunião
não me manda foto
não envie o boleto
don't send the invoice
don't call it a day
no me manden el paquete todavía
me tira uma dúvida?
me tire uma foto
Quanto custa?
oi
ok
👍
...
123
Obrigado, adorei!
se eu quiser sair da lista eu aviso
quero receber o catálogo
voltar
começar?
start?
¿start?
subscribe?
quero saber mais sobre a parada
pare de me cobrar
quero receber menos mensagens
não manda mensagem agora
no me escriban por la noche
unsubscribe from plan A
remove me from the waiting list
quiero dar de baja el servicio
cancelar mi suscripción a la revista
salir de dudas
por que vocês não param de me mandar mensagem?
"""

# After each language's mark the sentence; “-” stands before what is the same in all of them.
TABLE = [
    (line[4:], Reading(Intent.CERTAIN, None if line[0] == "-" else line[:2])) for line in CERTAIN.strip().splitlines()
]


def _lines(table: str) -> list[str]:
    return table.strip().splitlines()


@pytest.mark.parametrize(("said", "meant"), TABLE, ids=[said for said, _ in TABLE])
def test_who_says_only_stop_is_understood_and_so_is_the_language(said: str, meant: Reading) -> None:
    assert read(said) == meant


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        (said, meant)
        for meant, table in ((Intent.LIKELY, LIKELY), (Intent.RESUME, RESUME), (Intent.NONE, NONE))
        for said in _lines(table)
    ],
)
def test_what_may_mean_it_is_for_a_person_and_what_only_looks_like_it_is_nothing(said: str, meant: Intent) -> None:
    assert read(said).intent is meant


def test_the_table_is_large_in_every_language() -> None:
    languages = [meant.language for _, meant in TABLE]
    assert min(languages.count("pt"), languages.count("es"), languages.count("en")) >= 25
    assert len(TABLE) + len(_lines(LIKELY)) + len(_lines(RESUME)) + len(_lines(NONE)) >= 200


@pytest.mark.parametrize(
    ("text", "payload", "meant"),
    [
        ("Não quero mais ofertas", "STOP", Intent.CERTAIN),
        ("No, thanks", "STOP_PROMOTIONS", Intent.CERTAIN),
        ("Sair", "btn-2", Intent.CERTAIN),
        ("Stop promotions", "Stop promotions", Intent.CERTAIN),
        (None, "OPT_OUT:42", Intent.CERTAIN),
        (None, "optout", Intent.CERTAIN),
        ("Não tenho interesse", "no_interest", Intent.LIKELY),
        ("Comprar", "buy", Intent.NONE),
        ("Ver ponto de ônibus", "bus_stop", Intent.NONE),
        ("Continue", "dont-stop", Intent.NONE),
        ("Quero sim", "START", Intent.RESUME),
        (None, None, Intent.NONE),
    ],
)
def test_a_button_means_what_its_words_or_its_payload_say(text: str | None, payload: str | None, meant: Intent) -> None:
    assert read_button(text, payload).intent is meant


@given(st.text(max_size=300))
def test_any_text_can_be_read(text: str) -> None:
    assert read(text).intent in Intent
    assert normalised(normalised(text)) == normalised(text)


_WORDS = st.sampled_from(
    [*{word for said, _ in TABLE for word in normalised(said).split()}, "produto", "pedido", "hoje", "order", "precio"]
)


@given(st.lists(_WORDS, min_size=1, max_size=12).map(" ".join))
def test_a_certain_sentence_after_a_negation_or_among_other_words_is_not_certain(text: str) -> None:
    if read(text).intent is Intent.CERTAIN:
        assert read(f"qual o preço do tênis azul que vi ontem {text} e o cadarço verde").intent is not Intent.CERTAIN


@example(entry=("C a n c e l a r", Reading(Intent.CERTAIN, None)), addition=" Obrigado", shouted=False)
@given(st.sampled_from(TABLE), st.sampled_from(["", "!", "...", " 🙏", " Obrigado", " por favor", "\n"]), st.booleans())
def test_case_marks_emoji_and_manners_change_nothing(entry: tuple[str, Reading], addition: str, shouted: bool) -> None:
    said, meant = entry
    said = said.upper() if shouted else said.lower()
    assert read(f"{said}{addition}").intent is meant.intent


@pytest.mark.parametrize(
    "piece", ["de da do das ", "nao quero ", "as a o os ", "for you me ", "quero que voce ", "sa "]
)
@pytest.mark.timeout(60)  # milliseconds, or for ever if every way to read it were tried
def test_the_reading_of_a_hostile_text_ends(piece: str) -> None:
    for start in ("", "nao quero mais receber ", "stop sending ", "me tira da "):
        read(start + piece * 400)
