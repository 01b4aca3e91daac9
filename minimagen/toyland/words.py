"""Words for signs: common English ones of one to six letters, in capitals."""

WORDS: tuple[str, ...] = tuple(
    """
    a i am an as at be by do go he hi if in is it me my no of oh on or so to up us we ace act add ago air all and
    ant any ape arm art ask ate bag bat bay bed bee big bit bow box boy bud bug bus but buy can cap car cat cow
    cub cup cut dad day den dew dig dog dot dry duo ear eat egg elf elm end era eve eye fan far fig fin fir fit
    fix fly fog for fox fun fur gem get gum hat hay hen her hey him his hop how hub hug ice ink inn its ivy jam
    jar jay jet job joy jug key kid kit lab lap law leg let lid lip log lot low mad map mat may men mix mom moon
    mud mug nap net new nod now nut oak oar odd off oil old one our out owl own pad pan paw pay pea pen pet pie
    pin pit pod pot pro pup put ram ran raw ray red rib rim rod row rug run rye sad sat saw say sea see set she
    shy sit six sky son spa sun tag tan tap tea ten the tie tin tip toe ton too top toy try tub two use van vet
    via vow wax way web wet who why wig win wok won yak yam yes yet you zip zoo able aqua arch area army atom aunt
    away baby back bake ball band bank barn bath bead beam bean bear bell best bird blue boat body bold book boot
    born both bowl bread brew buzz cafe cake calm camp card cave chef city clay club coal coat coin cold cook cool
    corn cozy crab crow cube dark dawn deal deep deer desk dice dish dock door dove down draw drum duck dusk dust
    each east easy echo edge ever exit face fact fair fall farm fast fern film find fire fish five flag flow foam
    fold food foot fork four free frog fuel full game gate gift give glad glow goat gold golf good gray grid grow
    hall hand harp hawk heat hello help herb here hero hike hill hive home hood hook hope horn hour idea inch iris
    iron item jazz join jump just keep kind king kite kiwi knot lake lamp land lane last late leaf left lego lens
    life lily lime line lion list live loaf lock long look loop love luck lunch lung made mail main make many maps
    mark mask math meal melt menu mild milk mill mind mine mint moss most moth move much music name near nest news
    next nice nine noon nose note oath oats odds once only open oval oven over pace page paid pair palm park part
    past path peak pear pine pink pipe plan play plum poem pond pony pool port post puma pure quiz race rain read
    real rest rice ride ring road rock role roof room root rope rose ruby rule safe sail salt sand save seal seed
    ship shoe shop show sign silk sing size skip slow snow soap sofa soft soil song soon soup star stay step stop
    suit surf swan swim tail tale talk tall team tent text tide tile time tiny town toys tree trio true tuna turn
    twin unit upon vase very view vine walk wall wand warm wash wave week well west whale wheel wild wind wing
    wish wolf wood wool word work yard year yoga your zero zone above actor agent alarm album alpha amber angel
    apple april arrow aside asset award bacon badge baker basic beach begin bench berry birch black blend bloom
    board bonus brain brave brick bring brook brown brush build cabin camel candy cargo carol cedar chain chair
    chalk charm chess child chime chord cider clean clear cliff climb clock cloud clown coach coast cocoa coral
    could count cover craft crane cream crisp crown curve daisy dance delta diary dream dress drift drink drive
    eagle early earth eight elbow enjoy equal event every fable fairy field final first flame fleet flint flock
    floor flour flute focus forest forty found fresh frost fruit garden ghost giant glade glass globe glove grain
    grand grape grass great green guest guide habit happy hazel heart honey horse hotel house human humor igloo
    image inner ivory jelly jewel juice jumbo koala label large laser laugh layer lemon level light lilac linen
    lobby local logic lotus lucky lunar magic mango maple march match maybe medal melon metal minor model month
    motor mount mouse movie nature never night noble north novel ocean olive onion opera orbit order other otter
    owner paint panda paper party pasta peace peach pearl penny piano pilot pixel pizza place plain plane plant
    plate point polar pouch prism prize proud pulse pupil queen quest quick quiet quilt radar radio ranch raven
    ready rider river robin robot rodeo round route royal salad sauce scale scarf scout seven shade share sheep
    shelf shell shine shore silver simple sketch sleep slice small smile solar solid sound south space spark spice
    spoon spray spring squid stage stamp start steam stone store storm story straw studio sugar summer sunny super
    sweet table tango taste teach thank think three tiger toast today torch total tower track trade trail train
    treat trend trunk trust tulip uncle under union unity urban value velvet video violet visit vivid voice wagon
    waltz watch water whirl white woman world wrist yacht young zebra acorns anchor animal answer arctic artist
    autumn badger bakery ballet bamboo banana basket beacon beaver better border bottle branch breeze bridge
    bright bronze bubble bucket butter button camera candle canoes canvas carpet carrot castle cherry circle
    clever cobalt coffee colors comedy comets copper corner cosmic cotton cousin crayon dancer desert dinner
    divide dragon drawer engine falcon family farmer finger flower flying friend galaxy gentle ginger golden
    guitar hammer harbor helmet honest island jacket jigsaw jungle kettle kitten ladder legend letter lizard
    magnet marble market meadow mirror modern monkey mosaic museum narrow needle nickel number object office
    orange orchid origin oyster packet palace parade parrot pastel pebble pencil pepper pickle pillow pirate
    planet pocket potato puzzle python quartz rabbit racket reason ribbon rocket saddle salmon school season
    secret shadow shower signal singer smooth spider spirit square stream street summit sunset switch temple
    ticket tomato travel tunnel turtle violin walnut window winter wizard yellow
    """.upper().split()
)
