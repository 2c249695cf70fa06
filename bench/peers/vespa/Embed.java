// Texts by Vespa's own ColBertEmbedder, configured by the services.xml of an exported application.
//
// usage: java -cp 'lib/*' Embed.java APPLICATION TEXTS OUT
//   TEXTS  lines of "query" or "document", a tab, and the text as JSON has it (no line breaks)
//   OUT    of each line: rows as int32, then rows × x floats, little endian; then, of documents, rows × x / 8 bytes of bits
import ai.vespa.embedding.ColBertEmbedder;
import ai.vespa.modelintegration.evaluator.OnnxRuntime;
import ai.vespa.modelintegration.evaluator.config.OnnxEvaluatorConfig;
import com.google.gson.JsonParser;
import com.yahoo.config.ModelReference;
import com.yahoo.embedding.ColBertEmbedderConfig;
import com.yahoo.language.process.Embedder;
import com.yahoo.tensor.Tensor;
import com.yahoo.tensor.TensorType;
import java.io.DataOutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Iterator;
import javax.xml.parsers.DocumentBuilderFactory;
import org.w3c.dom.Element;
import org.w3c.dom.Node;

public class Embed {
    public static void main(String[] args) throws Exception {
        Path application = Path.of(args[0]);
        var services = DocumentBuilderFactory.newInstance().newDocumentBuilder().parse(application.resolve("services.xml").toFile());
        var component = (Element) services.getElementsByTagName("component").item(0);
        var config = new ColBertEmbedderConfig.Builder();
        for (Node node = component.getFirstChild(); node != null; node = node.getNextSibling())
            if (node instanceof Element element) set(config, application, element);
        var embedder = new ColBertEmbedder(OnnxRuntime.testInstance(), Embedder.Runtime.testInstance(), config.build(),
                new OnnxEvaluatorConfig.Builder().build());
        String schema = Files.readString(application.resolve("schemas/doc.sd"));
        var found = java.util.regex.Pattern.compile("tensor<float>\\(qt\\{\\}, ?x\\[(\\d+)\\]\\)").matcher(schema);
        if (!found.find()) throw new IllegalArgumentException("the schema has no tensor of queries");
        int dim = Integer.parseInt(found.group(1));
        var floats = TensorType.fromSpec("tensor<float>(dt{},x[" + dim + "])");
        var bits = TensorType.fromSpec("tensor<int8>(dt{},x[" + dim / 8 + "])");
        try (var out = new DataOutputStream(new java.io.BufferedOutputStream(Files.newOutputStream(Path.of(args[2]))))) {
            for (String line : Files.readAllLines(Path.of(args[1]))) {
                boolean query = line.startsWith("query\t");
                String text = JsonParser.parseString(line.substring(line.indexOf('\t') + 1)).getAsString();
                var context = new Embedder.Context(query ? "query(qt)" : "doc.colbert");
                write(out, embedder.embed(text, context, floats), dim, true);
                if (!query) write(out, embedder.embed(text, context, bits), dim / 8, false);
            }
        }
        embedder.deconstruct();
    }

    private static void set(ColBertEmbedderConfig.Builder config, Path application, Element element) {
        String text = element.getTextContent().trim();
        switch (element.getTagName()) {
            case "transformer-model" -> config.transformerModel(ModelReference.resolved(application.resolve(element.getAttribute("path"))));
            case "tokenizer-model" -> config.tokenizerPath(ModelReference.resolved(application.resolve(element.getAttribute("path"))));
            case "max-query-tokens" -> config.maxQueryTokens(Integer.parseInt(text));
            case "max-document-tokens" -> config.maxDocumentTokens(Integer.parseInt(text));
            case "max-tokens" -> config.transformerMaxTokens(Integer.parseInt(text));
            case "transformer-start-sequence-token" -> config.transformerStartSequenceToken(Integer.parseInt(text));
            case "transformer-end-sequence-token" -> config.transformerEndSequenceToken(Integer.parseInt(text));
            case "transformer-mask-token" -> config.transformerMaskToken(Integer.parseInt(text));
            case "transformer-pad-token" -> config.transformerPadToken(Integer.parseInt(text));
            case "query-token-id" -> config.queryTokenId(Integer.parseInt(text));
            case "document-token-id" -> config.documentTokenId(Integer.parseInt(text));
            case "transformer-output" -> config.transformerOutput(text);
            case "attend-to-expansion-tokens" -> config.attendToExpansionTokens(Boolean.parseBoolean(text));
            default -> throw new IllegalArgumentException("services.xml: <" + element.getTagName() + "> is not read here");
        }
    }

    private static void write(DataOutputStream out, Tensor tensor, int width, boolean floats) throws Exception {
        int rows = (int) (tensor.size() / width);
        var bytes = ByteBuffer.allocate(rows * width * (floats ? 4 : 1)).order(ByteOrder.LITTLE_ENDIAN);
        for (Iterator<Tensor.Cell> cells = tensor.cellIterator(); cells.hasNext(); ) {
            var cell = cells.next();
            int dt = tensor.type().dimensions().get(0).name().equals("dt") ? 0 : 1;
            int at = Integer.parseInt(cell.getKey().label(dt)) * width + (int) cell.getKey().numericLabel(1 - dt);
            if (floats) bytes.putFloat(at * 4, (float) (double) cell.getValue());
            else bytes.put(at, (byte) (double) cell.getValue());
        }
        if (floats) out.write(ByteBuffer.allocate(4).order(ByteOrder.LITTLE_ENDIAN).putInt(rows).array());
        out.write(bytes.array());
    }
}
