"""Sentences for the synthetic speakers of the mini corpus, written for this project."""

from __future__ import annotations

_TRAIN = """
The kettle began to whistle before the toast was done.
Nobody told the gardener that the gate was left open.
We counted seven white geese on the frozen pond.
My uncle repairs old clocks in a narrow workshop.
Please hand me the yellow folder from the top shelf.
The bus to the harbour leaves every twenty minutes.
She wrapped the glass vase in three layers of paper.
A cold wind pushed the leaves against the fence.
Could you bring a spoon and two clean cups?
The judge asked him to repeat the whole story slowly.
Fresh bread and salted butter make a fine breakfast.
They painted the shutters green and the door dark blue.
His youngest daughter plays the cello in a small band.
The map showed a path along the eastern shore.
I never thought the queue would be this long.
Thick fog covered the valley until late morning.
The engineer checked each valve twice before the test.
Put the oranges beside the basket, not inside it.
An owl called from the chestnut tree at midnight.
The price of copper rose sharply in the spring.
Her voice was calm, but her hands were shaking.
We should finish the roof before the heavy rain.
The museum closes at five on Thursdays and Fridays.
Old Mister Hughes feeds the pigeons on the square.
What a strange noise that washing machine makes!
The children built a bridge of sticks and string.
Sugar dissolves much faster in warm water.
He measured the length of the wall with a rope.
The choir sang softly while the candles burned down.
Four of the nine boats were back before dark.
This jacket is too thin for a walk in January.
The teacher drew a perfect circle without a compass.
Turn left at the chapel and follow the stream.
Her answer was short, polite, and quite wrong.
The vet gave the puppy something for its sore paw.
Leave the window ajar so that the cat can come in.
They shipped the furniture north by rail.
A jar of plum jam stood on the kitchen table.
The pilot chose to wait for better weather.
Our neighbour grows beans, peas, and huge pumpkins.
The film was dull, though the music pleased us both.
Six thousand people signed the letter in one week.
He dropped the coin and it rolled under the piano.
The recipe asks for thyme, garlic, and a pinch of salt.
Quick, shut the hatch before the next wave comes!
The village well has been dry since August.
I would rather read than watch another game show.
Our train was delayed by sheep on the track.
The smith bent the iron bar into a neat hook.
Both twins wanted the same red bicycle.
You can smell the sea from the attic window.
The thunder woke the baby just after three.
The lawyer read every page and frowned at the last.
Somebody has been using my best scissors again.
The jury could not agree on the second question.
A row of poplars shaded the dusty road.
He thanked the nurse and asked for his shoes.
Wool keeps you warm even when it is wet.
The shop on the corner sells paint, nails, and glue.
They whispered so as not to wake the guests.
The puzzle was missing two pieces of sky.
Give the visitor a chair and a glass of water.
The goat chewed through the rope in an hour.
Every drawer was full of buttons and thread.
The river bends sharply beyond the paper mill.
She scored the winning point with her left hand.
Yesterday's soup tastes even better today.
The choice between the two houses was easy.
A thin layer of ice hid the deep puddle.
The orchestra tuned while the audience found its seats.
Why did the lamp in the hall go out so early?
The farmer joined the two fields into one.
Few birds stay on the island through the winter.
His boots left a trail of mud across the carpet.
The cashier gave me the wrong change twice.
The moon rose behind the tower, round and orange.
You should oil the hinge before it breaks.
The ferry captain knew each rock by name.
Green apples are sour, but they keep for months.
The visitors laughed when the parrot sneezed.
"""

_TEST = """
The postman rang the bell and waited in the snow.
A bright beetle crawled along the edge of the page.
We boiled the potatoes and forgot the salt.
Their cousin studies the history of bridges.
The choice of colour is entirely up to you.
Nothing grows in the shadow of that huge wall.
The violin was older than the house itself.
Please do not lean your ladder on the gutter.
He joined the chess club to meet new people.
The sauce needs pepper and a splash of vinegar.
From the hill you can watch the fishing boats.
Her first job was sorting parcels at night.
The fox vanished into the hedge without a sound.
A cracked mirror hung above the fireplace.
Thirteen steps lead down to the wine cellar.
The speech was brief and the applause was long.
Which of these jars holds the brown sugar?
The tailor shortened the sleeves by an inch.
Heavy trucks may not cross the wooden bridge.
On Sundays the whole family cooks together.
The dentist asked whether the tooth still hurt.
A gust of wind blew the tickets off the bench.
The youngest goose always walks behind the others.
You will find the broom behind the pantry door.
"""

TRAIN_TEXTS: tuple[str, ...] = tuple(_TRAIN.strip().split("\n"))
TEST_TEXTS: tuple[str, ...] = tuple(_TEST.strip().split("\n"))
